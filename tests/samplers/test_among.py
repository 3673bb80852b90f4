"""Choosing among the entries of an order, in which a sample may come several times."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import (
    WeightedRandomSampler,
)

from dynsel.samplers.among import choose_among, strata_of
from dynsel.selection import Selection
from dynsel.selectors import SELECTORS, Hybrid, Random, Selector
from dynsel.selectors.score_selector import ScoreSelector


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 40), st.integers(0, 3))
def test_exactly_as_many_entries_as_asked_for_stay(order, size, seed):
    size = min(size, len(order))
    for selector in (Random(seed=seed), Hybrid(seed=seed), SELECTORS["rcap"](seed=seed)):
        selector.bind(10, torch.arange(10) % 3)
        places, weights = choose_among(selector, torch.tensor(order), size, 0.5)
        assert weights is None
        assert len(places) == size
        assert places.tolist() == sorted(set(places.tolist()))
        assert 0 <= int(places[0]) <= int(places[-1]) < len(order)


def test_of_scores_the_highest_entries_stay():
    class ByNumber(ScoreSelector):
        def scores(self, progress: float) -> Tensor:
            return torch.arange(10.0)

    selector = ByNumber()
    selector.bind(10)
    places, _ = choose_among(selector, torch.tensor([3, 9, 1, 9, 4]), 3, 0.0)
    assert places.tolist() == [1, 3, 4]
    kinds = torch.tensor([0, 1] * 5)
    places, _ = choose_among(selector, torch.tensor([3, 9, 2, 9, 4, 8]), 4, 0.0, kinds)
    # Half of them are odd, so that half of what stays is: 9 and 9, 8 and 4.
    assert places.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize("order", [torch.arange(50), torch.zeros(50, dtype=torch.int64), torch.arange(50) // 3])
def test_whatever_was_drawn_the_same_number_is_asked_for(order):
    """Another number may be another subset, which takes long to choose."""

    class Asked(Selector):
        def select(self, progress: float, size: int) -> Selection:
            self.size = size
            return Selection(torch.arange(size))

    selector = Asked()
    selector.bind(150)
    for size in range(1, 51):
        choose_among(selector, order, size, 0.0)
        assert selector.size == 3 * size


def test_kinds_are_told_by_weights_or_else_by_classes_where_something_is_drawn_twice():
    once, twice = torch.tensor([2, 0, 1]), torch.tensor([2, 0, 2])
    codes = torch.tensor([0, 0, 1])
    sampler = WeightedRandomSampler([0.5, 2.0, 0.5], 3)
    assert strata_of(sampler, once, None, codes) is None
    assert strata_of(sampler, twice, None, codes).tolist() == [0, 1, 0]
    assert strata_of(object(), twice, None, codes) is codes
    # Weights of something else than samples.
    assert strata_of(SimpleNamespace(weights=[0.5, 0.5]), twice, None, codes) is codes
    many = WeightedRandomSampler(torch.linspace(0.1, 1, 1000), 3)
    kinds = strata_of(many, torch.tensor([0, 0]), None, None)
    assert sorted(Counter(kinds.tolist()).values()) == [62] * 8 + [63] * 8
