"""Label noise and long tails: exact shares, the same data whatever the run's seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynsel.data import CIFAR10DataModule, DigitsDataModule, confuse_labels, copy_rows, flip_labels, long_tail
from dynsel.data.cifar10 import CLASSES
from dynsel.data.corrupt import altered, partners


@given(st.integers(0, 60), st.floats(0, 0.99), st.integers(2, 6), st.integers(0, 99))
def test_exactly_the_share_is_wrong(count: int, share: float, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=generator)
    flipped, wrong = flip_labels(targets, share, classes, generator)
    assert int(wrong.sum()) == int(share * count + 0.5)
    assert torch.equal(flipped != targets, wrong)
    assert flipped.dtype == torch.int64
    assert ((flipped >= 0) & (flipped < classes)).all()


def test_all_other_classes_are_equally_likely() -> None:
    targets = torch.full((6000,), 2)
    flipped, wrong = flip_labels(targets, 0.5, 5, torch.Generator().manual_seed(0))
    counts = torch.bincount(flipped[wrong], minlength=5).numpy()
    assert counts[2] == 0
    assert stats.chisquare(np.delete(counts, 2)).pvalue > 0.01


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(1, 200), st.integers(0, 99))
def test_class_sizes_fall_off_exponentially(sizes: list[int], imbalance: float, seed: int) -> None:
    targets = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))]
    rows = long_tail(targets, imbalance, len(sizes), torch.Generator().manual_seed(seed))
    assert torch.equal(rows, rows.unique())
    last = max(1, len(sizes) - 1)
    wanted = [max(1, int(size * imbalance ** (-c / last) + 0.5)) for c, size in enumerate(sizes)]
    assert torch.bincount(targets[rows], minlength=len(sizes)).tolist() == wanted


def test_a_data_module_has_the_same_wrong_labels_whatever_the_seed() -> None:
    def train_set(seed: int, **options: float):
        torch.manual_seed(seed)
        data = DigitsDataModule(**options)
        data.setup("fit")
        return data.train_set, data.val_set

    plain, val = train_set(0)
    noisy, noisy_val = train_set(1, label_noise=0.2)
    again, _ = train_set(2, label_noise=0.2)
    assert torch.equal(noisy.targets, again.targets)
    assert torch.equal(noisy.targets != plain.targets, noisy.wrong)
    assert int(noisy.wrong.sum()) == int(0.2 * len(plain) + 0.5)
    assert torch.equal(val.targets, noisy_val.targets), "what is evaluated on stays right"
    assert plain.wrong is None
    assert noisy.to("cpu") is noisy
    tail, _ = train_set(3, imbalance=10.0, label_noise=0.1)
    assert len(tail) < len(plain) / 2
    assert int(tail.wrong.sum()) == int(0.1 * len(tail) + 0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_noise": 1.0}, r"`label_noise` must be in \[0, 1\), got 1.0"),
        ({"label_noise": -0.1}, r"`label_noise` must be in \[0, 1\), got -0.1"),
        ({"imbalance": 0.5}, r"`imbalance` must be at least 1, got 0.5"),
        ({"imbalance": float("nan")}, r"`imbalance` must be at least 1 and finite, got nan"),
        ({"noise_kind": "random"}, "`noise_kind` must be 'symmetric' or 'confusion', got 'random'"),
        ({"duplicates": 0.9}, r"`duplicates` must be in \[0, 0.8\], got 0.9; it is the share of the samples that are"),
    ],
)
def test_wrong_arguments(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DigitsDataModule(**options)


def test_wrong_shares_of_the_functions() -> None:
    with pytest.raises(ValueError, match="`label_noise` needs at least 2 classes, got 1"):
        flip_labels(torch.zeros(9, dtype=torch.int64), 0.5, 1, torch.Generator())
    with pytest.raises(ValueError, match=r"`label_noise` must be in \[0, 1\), got 1.5"):
        flip_labels(torch.zeros(9, dtype=torch.int64), 1.5, 2, torch.Generator())
    with pytest.raises(ValueError, match="`imbalance` must be at least 1 and finite, got"):
        long_tail(torch.zeros(9, dtype=torch.int64), 0.5, 2, torch.Generator())
    with pytest.raises(ValueError, match=r"`partner` must be another class for each, got \[1, 1\]"):
        confuse_labels(torch.zeros(9, dtype=torch.int64), 0.5, torch.tensor([1, 1]), torch.Generator())
    with pytest.raises(ValueError, match=r"`duplicates` must be in \[0, 0.8\], got 1; it is the share of the samples"):
        copy_rows(9, 1, torch.Generator())


# ---------------------------------------------------------------- confusion
@given(st.integers(0, 60), st.floats(0, 0.99), st.integers(2, 6), st.integers(0, 99))
def test_by_confusion_exactly_the_share_gets_its_partner(count: int, share: float, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=generator)
    partner = partners([str(c) for c in range(classes)], [("0", "1")])
    flipped, wrong = confuse_labels(targets, share, partner, generator)
    assert int(wrong.sum()) == int(share * count + 0.5)
    assert torch.equal(flipped[wrong], partner[targets[wrong]])
    assert torch.equal(flipped[~wrong], targets[~wrong])


def test_partners_are_pairs_or_the_next_class() -> None:
    assert partners(["bird", "cat", "dog", "frog"], [("dog", "cat"), ("cow", "frog")]).tolist() == [1, 2, 1, 0]
    assert partners(CLASSES, CIFAR10DataModule.confusions).tolist() == [8, 9, 6, 5, 7, 3, 2, 4, 0, 1]


def test_a_data_modules_labels_are_wrong_by_its_pairs() -> None:
    data = DigitsDataModule(label_noise=0.2, noise_kind="confusion")
    data.setup("fit")
    plain = DigitsDataModule()
    plain.setup("fit")
    was, now = plain.train_set.targets, data.train_set.targets
    assert {frozenset((a, b)) for a, b in zip(was.tolist(), now.tolist(), strict=True) if a != b} == {
        frozenset(map(int, pair)) for pair in DigitsDataModule.confusions
    }


# ---------------------------------------------------------------- copies
@given(st.integers(0, 90), st.floats(0, 0.8), st.integers(0, 99))
def test_exactly_the_share_are_copies_of_few(count: int, share: float, seed: int) -> None:
    rows, kind = copy_rows(count, share, torch.Generator().manual_seed(seed))
    copies = rows != torch.arange(count)
    assert int(copies.sum()) == min(int(share * count + 0.5), count - -(-count // 7)), "one in seven stays"
    assert torch.equal(copies, kind > 0)
    assert not copies[rows].any(), "what is copied is no copy itself"
    assert int(torch.bincount(rows[copies], minlength=1).max()) <= 6
    assert len(rows[copies].unique()) == -(-int(copies.sum()) // 6)


def test_copies_are_what_they_are_called() -> None:
    plain, doubled = DigitsDataModule(), DigitsDataModule(duplicates=0.3)
    for data in (plain, doubled):
        data.setup("fit")
    source, images = doubled.train_set.copy_of, doubled.train_set.images
    assert torch.equal(doubled.train_set.targets, plain.train_set.targets[source])
    own = plain.train_set.images[source]
    copies = source != torch.arange(len(source))
    same = (images == own).flatten(1).all(1)
    assert same[~copies].all()
    # A third is exact; of the others a few may come out the same, as dark pixels do.
    assert 0.3 <= float(same[copies].double().mean()) < 0.4
    change = (images.float() - own.float()).flatten(1).abs().mean(1)
    assert float(change[copies].median()) < float((own - own.roll(1, 0)).float().abs().mean()) / 2
    assert doubled.train_set.to("cpu").copy_of is source


def test_colours_survive_being_encoded() -> None:
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[:, 0] = 200
    again = altered(images, torch.tensor([2, 0]), torch.Generator())
    assert torch.equal(again[1], images[1])
    assert int((again[0].int() - images[0].int()).abs().max()) <= 4
