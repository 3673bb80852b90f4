"""FAST: coresets nearer to their class than random ones, special inputs, and what it refuses."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from clusters import QUICK, fitted_fast, uneven_blobs
from sklearn.datasets import load_digits

from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, phase_decoupled
from dynsel.selection import balanced_top_k, largest_remainder
from dynsel.selectors import Feedback
from dynsel.selectors.fast import FAST
from dynsel.selectors.fast.points import assign
from dynsel.selectors.fast.problem import make_problem


def distance(embedding: torch.Tensor, chosen: torch.Tensor) -> float:
    """Phase-decoupled CFD at frequencies that FAST never saw."""
    generator = torch.Generator().manual_seed(99)
    t = gaussian_frequencies(512, embedding.shape[1], median_scale(embedding, generator), generator)
    value = characteristic_sums(embedding[chosen], t).value()
    return float(phase_decoupled(value, characteristic_sums(embedding, t).value(), t).mean())


# ---------------------------------------------------------------- coresets
def test_a_coreset_of_digits_is_nearer_than_the_best_of_100_random_ones():
    digits = load_digits()
    x, labels = torch.from_numpy(digits.data).float(), torch.from_numpy(digits.target)
    chosen_of = [c for c in range(10) if c in (1, 8)]
    few = torch.isin(labels, torch.tensor(chosen_of))
    x, labels = x[few], (labels[few] == 8).long()
    selector = fitted_fast(x, labels, steps=60)
    chosen = selector.select(0.0, 72).indices
    generator = torch.Generator().manual_seed(0)
    random = [balanced_top_k(torch.rand(len(x), generator=generator), labels, 72) for _ in range(100)]
    for c in range(2):
        members = (labels == c).nonzero()[:, 0]
        inside = [torch.isin(members, subset).nonzero()[:, 0] for subset in (chosen, *random)]
        ours, *theirs = (distance(selector.embedding[members], subset) for subset in inside)
        assert ours < min(theirs)


def test_quotas_are_exact_and_indices_ascend():
    x, labels = uneven_blobs(330, 3)
    chosen = fitted_fast(x, labels).select(0.0, 100).indices
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    sizes = torch.bincount(labels)
    assert torch.equal(torch.bincount(labels[chosen]), largest_remainder(sizes, 100))


def test_static_is_one_coreset_until_the_size_changes():
    x, labels = uneven_blobs(200)
    selector = fitted_fast(x, labels)
    first = selector.select(0.0, 40).indices
    selector.observe(Feedback(first))
    assert torch.equal(selector.select(0.5, 40).indices, first)
    assert len(selector.select(0.6, 50).indices) == 50


def test_the_seed_decides():
    x, labels = uneven_blobs(140)
    chosen = [fitted_fast(x, labels, seed=seed).select(0.0, 28).indices.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_without_exchanges_the_assigned_samples_stay():
    x, _ = uneven_blobs(200)
    selector = fitted_fast(x, swaps=False)
    chosen = selector.select(0.0, 20).indices
    problem = make_problem(selector.embedding, selector.degree, 20, selector.settings, seed=0)
    assert sorted(assign(selector.points, problem).tolist()) == chosen.tolist()


def run(selector: FAST, epochs: range, size: int) -> list[list[int]]:
    chosen = []
    for epoch in epochs:
        indices = selector.select(epoch / 10, size).indices
        selector.observe(Feedback(indices))
        chosen.append(indices.tolist())
    return chosen


@pytest.mark.parametrize("count", [140, 60])  # classes of more and of fewer than 64
def test_rotating_uses_all_samples_alike(count):
    x, labels = uneven_blobs(count)
    selector = fitted_fast(x, labels, mode="rotating")
    chosen = run(selector, range(10), count // 5)
    assert len({tuple(indices) for indices in chosen}) == 10
    assert int(selector.usage.sum()) == 10 * count // 5
    # Ten epochs of a fifth are two uses each.
    assert int((selector.usage == 0).sum()) <= 0.1 * count
    assert int(selector.usage.max()) <= 5


def test_without_a_price_rotating_stays_nearby():
    x, labels = uneven_blobs(200)
    priced, free = (fitted_fast(x, labels, mode="rotating", usage_price=price, swaps=False) for price in (1.0, 0.0))
    for selector in (priced, free):
        run(selector, range(8), 40)
    assert int((free.usage == 0).sum()) > 2 * int((priced.usage == 0).sum())


def test_each_epoch_of_rotating_is_nearer_than_random():
    x, _ = uneven_blobs(400, 1)
    selector = fitted_fast(x, mode="rotating")
    generator = torch.Generator().manual_seed(0)
    theirs = [distance(selector.embedding, torch.randperm(400, generator=generator)[:80]) for _ in range(20)]
    ours = [distance(selector.embedding, torch.tensor(chosen)) for chosen in run(selector, range(4), 80)]
    assert max(ours) < np.median(theirs)


@pytest.mark.parametrize("mode", ["static", "rotating"])
def test_a_resumed_run_goes_on_the_same(mode):
    x, labels = uneven_blobs(140)
    whole = fitted_fast(x, labels, mode=mode)
    run(whole, range(2), 28)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = FAST(**QUICK, mode=mode, seed=0)
    resumed.bind(len(x), labels)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.ready
    assert run(resumed, range(2, 5), 28) == run(whole, range(2, 5), 28)
    # Another size is solved for anew.
    assert run(resumed, range(5, 7), 42) == run(whole, range(5, 7), 42)


# ---------------------------------------------------------------- special inputs
def test_quotas_of_nothing_and_of_all():
    """Sizes 1, 2, 3, 5 and 89: of the smaller ones at most one sample in a coreset of 20."""
    labels = torch.tensor([0] + [1] * 2 + [2] * 3 + [3] * 5 + [4] * 89)
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    selector = fitted_fast(x, labels)
    quotas = largest_remainder(torch.bincount(labels), 20)
    assert quotas.min() == 0
    assert torch.equal(torch.bincount(labels[selector.select(0.0, 20).indices], minlength=5), quotas)
    assert selector.select(0.0, 100).indices.tolist() == list(range(100))
    assert len(selector.select(0.0, 1).indices) == 1


def test_more_dimensions_than_samples():
    x = torch.randn(70, 200, generator=torch.Generator().manual_seed(0))
    assert len(fitted_fast(x).select(0.0, 7).indices) == 7


def test_duplicates_are_chosen_once_each():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    assert len(fitted_fast(x).select(0.0, 80).indices.unique()) == 80


def test_arrays_of_half_precision():
    x, labels = uneven_blobs(150)
    ours = fitted_fast(x.half(), labels).select(0.0, 30).indices
    again = FAST(**QUICK, seed=0)
    again.bind(150, labels)
    again.fit(x.half().numpy())
    assert torch.equal(again.select(0.0, 30).indices, ours)


def test_the_same_features_everywhere():
    x, labels = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    x[labels == 1] = 3.0
    with pytest.raises(ValueError, match="all samples of class 1 have the same features, FAST can't tell them apart"):
        fitted_fast(x, labels)
    with pytest.raises(ValueError, match="all samples have the same features"):
        fitted_fast(torch.ones(20, 2))


def test_too_many_samples_at_once():
    x = torch.zeros(20_001, 1)
    with pytest.raises(ValueError, match=r"at most 20,000 samples at once, got 20,001; give labels and class_balance"):
        fitted_fast(x)
    with pytest.raises(ValueError, match=r"got 20,001 in one class; split the classes into finer ones"):
        fitted_fast(x, torch.zeros(20_001, dtype=torch.int64))


def test_features_that_do_not_fit():
    selector = FAST(class_balance=False)
    selector.bind(5)
    with pytest.raises(ValueError, match="`features` must have one row per sample: expected 5, got 4"):
        selector.fit(torch.randn(4, 2))
    with pytest.raises(ValueError, match="got NaN or infinite values in row 2"):
        selector.fit(torch.tensor([[0.0], [1.0], [math.nan], [1.0], [2.0]]))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "dynamic"}, "`mode` must be 'static' or 'rotating', got 'dynamic'"),
        ({"usage_price": -1.0}, "`usage_price` must be at least 0, got -1.0"),
        ({"dim": 0}, "`dim` must be at least 1, got 0"),
        ({"scales": [0, 5]}, "`scales` must be at least 1, got 0"),
        ({"scales": []}, "`scales` must hold at least one number of neighbours, got none"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"steps_again": 0}, "`steps_again` must be at least 1, got 0"),
        ({"assign_every": 0}, "`assign_every` must be at least 1, got 0"),
        ({"frequencies_per_step": 0}, "`frequencies_per_step` must be at least 1, got 0"),
        ({"num_frequencies": 11}, "`num_frequencies` must be at least 12, got 11; 1024 is usual"),
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        ({"strength": -0.1}, "`strength` must be at least 0, got -0.1"),
        ({"diversity": math.nan}, "`diversity` must be at least 0 and finite, got nan"),
        ({"degree_exponent": -1.0}, "`degree_exponent` must be at least 0, got -1.0"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        FAST(**options)


def test_a_progress_bar_changes_nothing():
    x, labels = uneven_blobs(60)
    shown, bare = (fitted_fast(x, labels, progress_bar=shown).select(0.0, 12).indices for shown in (True, False))
    assert torch.equal(shown, bare)


def test_the_laplacian_is_forgotten_after_the_first_coreset():
    """So that a resumed run, which has none, goes on the same."""
    selector = fitted_fast(uneven_blobs(100)[0])
    (matrix,) = selector._laplacians.values()
    np.testing.assert_allclose(matrix.diagonal(), 1)
    selector.select(0.0, 20)
    assert selector._laplacians == {}
    assert all(problem.laplacian is None for problem in selector._problems.values())
