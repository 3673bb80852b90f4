"""A subset chosen once: what it holds, and the report on how far it is from the whole set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, random_floor
from dynsel.coreset import coreset_report, offline_selectors, select_coreset
from dynsel.selectors import KCenter

DIGITS = load_digits()
X = DIGITS.data[:400].astype(np.float32)
LABELS = torch.from_numpy(DIGITS.target[:400])


# ---------------------------------------------------------------- choosing
@pytest.mark.parametrize("selector", ["fast", "herding", "k-center", "random", "rrd"])
def test_selectors_choose_the_share_asked_for(selector):
    options = {"sae_epochs": 2} if selector == "rrd" else {}
    assert selector in offline_selectors()
    chosen = select_coreset(selector, X, LABELS, keep_ratio=0.15, seed=1, **options)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == 60
    assert torch.bincount(LABELS[chosen]).tolist() == pytest.approx((torch.bincount(LABELS) * 0.15).tolist(), abs=1)


def test_it_is_what_the_selector_chooses():
    selector = KCenter(seed=0)
    selector.bind(400, LABELS)
    selector.fit(X)
    assert torch.equal(select_coreset("k-center", X, LABELS, 0.1), selector.select(0.0, 40).indices.sort().values)


def test_without_labels_all_samples_are_one_class():
    assert len(select_coreset("fast", torch.from_numpy(X), keep_ratio=0.1, steps=10)) == 40


def test_the_seed_decides():
    first, again, other = (select_coreset("random", X, None, 0.1, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ("hybrid", "hybrid chooses by logits, which only training gives; try fast or geometry or herding or k-c"),
        ("infobatch", "infobatch chooses by losses"),
        ("full", "full chooses no given number of samples"),
        ("gstds", "gstds chooses inside the batches of a training"),
        ("jest", "jest chooses inside the batches of a training"),
    ],
)
def test_selectors_that_need_training(selector, why):
    assert selector not in offline_selectors()
    with pytest.raises(ValueError, match=f"`selector` must choose without training; {why}"):
        select_coreset(selector, X)


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown selector 'fsat'; did you mean 'fast'"):
        select_coreset("fsat", X)
    with pytest.raises(TypeError, match="k-center has no argument `steps`; it has normalize, max_keep_ratio"):
        select_coreset("k-center", X, steps=3)
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\], got 10"):
        select_coreset("k-center", X, keep_ratio=10)


# ---------------------------------------------------------------- the report
def test_the_report_by_direct_computation():
    report = coreset_report(X, torch.arange(40), seed=3)
    generator = torch.Generator().manual_seed(3)
    t = gaussian_frequencies(1024, 64, median_scale(X, generator), generator)
    waves = np.exp(1j * X.astype(np.float64) @ t.double().numpy().T)
    distance = np.square(np.abs(waves[:40].mean(0) - waves.mean(0))).mean()
    assert report["cfd"]["coreset"] == pytest.approx(distance, rel=1e-4)
    floor = random_floor(characteristic_sums(X, t).value(), 40, 400)
    assert report["ratio"] == pytest.approx(distance / floor, rel=1e-4)
    random = report["cfd"]["random"]
    assert random["best"] < random["mean"]
    assert report["cfd"]["z"] == pytest.approx((distance - random["mean"]) / random["std"], rel=1e-3)
    assert random["mean"] == pytest.approx(floor, rel=0.2)


def test_random_subsets_of_the_report_are_class_balanced():
    """Where each class is one point, they all are exactly the whole set."""
    x = torch.nn.functional.one_hot(LABELS).float() * 3
    whole = torch.cat([(c == LABELS).nonzero()[:10, 0] for c in range(10)])
    report = coreset_report(x[whole], torch.arange(0, 100, 2), torch.arange(100) // 10)
    assert report["cfd"]["random"]["mean"] == pytest.approx(0, abs=1e-10)


def test_the_whole_set_is_at_no_distance():
    report = coreset_report(X, torch.arange(400), repeats=2)
    assert report["cfd"]["coreset"] == pytest.approx(0, abs=1e-10)
    assert report["ratio"] is None
    with pytest.raises(ValueError, match="`repeats` must be at least 2, got 1"):
        coreset_report(X, torch.arange(4), repeats=1)
