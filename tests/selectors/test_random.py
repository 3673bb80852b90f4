"""RS2: every sample as often as every other, whatever the sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynsel.selectors import Feedback, Random


def bound(n: int, *, labels: torch.Tensor | None = None, seed: int = 0) -> Random:
    selector = Random(class_balance=labels is not None, seed=seed)
    selector.bind(n, labels)
    return selector


def epoch(selector: Random, size: int) -> torch.Tensor:
    indices = selector.select(0.0, size).indices
    selector.observe(Feedback(indices))
    return indices


def spread(usage: torch.Tensor) -> int:
    return int(usage.max() - usage.min())


@given(st.integers(1, 80), st.data())
def test_uses_never_differ_by_more_than_one(n, data):
    selector = bound(n)
    for size in data.draw(st.lists(st.integers(1, n), max_size=12)):
        indices = epoch(selector, size)
        assert len(indices.unique()) == len(indices) == size
        assert spread(selector.usage) <= 1


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_nor_within_a_class_if_balanced(labels, data):
    labels = torch.tensor(labels, dtype=torch.int16)
    selector = bound(len(labels), labels=labels)
    for size in data.draw(st.lists(st.integers(1, len(labels)), max_size=12)):
        epoch(selector, size)
        assert all(spread(selector.usage[labels == c]) <= 1 for c in labels.unique())


@pytest.mark.parametrize("n", [7, 100, 1001])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7])
def test_a_pass_takes_every_sample_before_any_comes_again(n, ratio):
    selector, size = bound(n), max(1, int(ratio * n))
    for _ in range(-(-n // size)):
        epoch(selector, size)
    assert int(selector.usage.min()) >= 1
    assert int(selector.usage.max()) <= 2


def test_the_turn_of_a_pass_drops_nothing():
    """10 samples by 4: the third epoch takes the 2 left over and 2 others of those used once."""
    selector = bound(10)
    left = set(range(10)) - set(epoch(selector, 4).tolist()) - set(epoch(selector, 4).tolist())
    third = set(epoch(selector, 4).tolist())
    assert left < third
    assert sorted(selector.usage.tolist()) == [1] * 8 + [2] * 2


def test_is_shuffled_from_the_first_pass_on():
    n, size = 1000, 100
    selector = bound(n)
    first, second = epoch(selector, size), epoch(selector, size)
    assert not torch.equal(first, torch.arange(int(first[0]), int(first[0]) + size))
    for indices in (first, second):  # neither leans towards any part of the data set
        assert stats.kstest(indices.numpy() / n, "uniform").pvalue > 0.001
    assert not set(first.tolist()) & set(second.tolist())


def test_every_sample_is_as_likely_in_the_first_epoch():
    n, size, runs = 20, 5, 2000
    counts = torch.zeros(n)
    for seed in range(runs):
        counts[bound(n, seed=seed).select(0.0, size).indices] += 1
    # Drawing without replacement varies less than independent draws: the usual statistic is scaled by (n - 1) / n.
    statistic = float(((counts - runs * size / n) ** 2 / (runs * size / n * (1 - size / n))).sum()) * (n - 1) / n
    assert 0.001 < stats.chi2.sf(statistic, n - 1) < 0.999


def test_each_pass_has_its_own_order():
    selector = bound(200)
    passes = [[epoch(selector, 100).tolist() for _ in range(2)] for _ in range(3)]
    halves = [sorted(halves[0]) for halves in passes]
    assert halves[0] != halves[1] != halves[2] != halves[0]


def test_seeds_differ():
    assert bound(100, seed=1).select(0, 10).indices.tolist() != bound(100, seed=2).select(0, 10).indices.tolist()
    assert bound(100, seed=1).select(0, 10).indices.tolist() == bound(100, seed=1).select(0, 10).indices.tolist()


def test_the_runs_seed_counts_if_it_has_none_of_its_own():
    selector = Random()
    selector.bind(100, seed=1)
    assert selector.select(0, 10).indices.tolist() == bound(100, seed=1).select(0, 10).indices.tolist()


def test_unequal_uses_are_levelled():
    """After a resume on other terms, or epochs cut short: the least used go first, exactly."""
    selector = bound(6)
    selector.usage = torch.tensor([5, 0, 3, 0, 9, 1], dtype=torch.int32)
    assert sorted(epoch(selector, 2).tolist()) == [1, 3]
    assert sorted(epoch(selector, 3).tolist()) == [1, 3, 5]
    assert sorted(epoch(selector, 4).tolist()) == [1, 2, 3, 5]


@pytest.mark.parametrize("balanced", [True, False])
def test_static_takes_one_subset_for_all_epochs(balanced):
    labels = torch.arange(90) % 3
    first = None
    for seed in (0, 1):
        selector = Random(static=True, class_balance=balanced, seed=seed)
        selector.bind(90, labels)
        chosen = [epoch(selector, 30).tolist() for _ in range(3)]
        assert chosen[0] == chosen[1] == chosen[2] != first
        first = chosen[0]
        # A coreset grows by adding samples.
        assert set(chosen[0]) <= set(selector.select(0.0, 60).indices.tolist())
