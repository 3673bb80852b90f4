"""Label noise and long tails: exact shares, the same data whatever the run's seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynsel.data import DigitsDataModule, flip_labels, long_tail


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
