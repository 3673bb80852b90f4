"""k-center against a search by brute force, and its bound against the best of all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from dynsel.selectors import KCenter
from dynsel.selectors.kcenter import kcenter_order


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def radius(distance: np.ndarray, picks: list[int] | tuple[int, ...]) -> float:
    return float(distance[:, list(picks)].min(1).max())


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_each_pick_is_that_of_brute_force(n, d, seed):
    x = rows(n, d, seed) + 3
    assert kcenter_order(x, n).dtype == torch.int64
    order = kcenter_order(x, n).tolist()
    assert sorted(order) == list(range(n))
    from_mean = (x - x.mean(0)).norm(dim=1).numpy()
    assert from_mean[order[0]] == pytest.approx(from_mean.min(), abs=1e-4)
    distance = cdist(x, x)
    for t in range(1, n):
        nearest = distance[:, order[:t]].min(1)
        assert nearest[order[t]] == pytest.approx(nearest.max(), abs=1e-3)  # the farthest, to float32


def test_order_is_that_of_brute_force():
    x = rows(40, 5)
    distance, picks = cdist(x, x), [int((x - x.mean(0)).norm(dim=1).argmin())]
    while len(picks) < 40:
        picks.append(int(distance[:, picks].min(1).argmax()))
    assert kcenter_order(x, 40).tolist() == picks


def test_order_on_a_line():
    """From 4, nearest the mean: 9 is farthest, then 0 (4 from 4), then 6 (2 from 4), then 1 (1 from 0)."""
    x = torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]])
    assert kcenter_order(x, 5).tolist() == [2, 4, 0, 3, 1]


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(1, 3), st.data())
def test_radius_is_at_most_twice_the_smallest(n, d, data):
    cell = st.lists(st.integers(-4, 4), min_size=d, max_size=d)
    x = np.array(data.draw(st.lists(cell, min_size=n, max_size=n)), dtype=np.float64)
    distance = cdist(x, x)
    order = kcenter_order(torch.from_numpy(x).float(), n).tolist()
    for k in range(1, n):
        best = min(radius(distance, subset) for subset in combinations(range(n), k))
        assert radius(distance, order[:k]) <= 2 * best + 1e-9


def test_ties_go_to_the_lower_row():
    assert kcenter_order(torch.zeros(4, 3), 4).tolist() == [0, 1, 2, 3]
    assert kcenter_order(torch.tensor([[0.0], [1.0], [-1.0]]), 3).tolist() == [0, 1, 2]


def test_duplicates_come_last():
    """Also where rounding leaves their distance a little above zero."""
    x = rows(20, 64) + 5
    order = kcenter_order(torch.cat([x, x]), 40) % 20
    assert sorted(order[:20].tolist()) == list(range(20))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scale_does_not_matter(scale):
    x = rows(30, 4)
    assert kcenter_order((x.double() * scale).float(), 30).tolist() == kcenter_order(x, 30).tolist()


def test_covers_better_than_any_random_subset():
    x = rows(500, 4)
    distance = cdist(x, x)
    selector = KCenter(class_balance=False)
    selector.bind(500)
    selector.fit(x)
    ours = radius(distance, selector.select(0.0, 25).indices.tolist())
    generator = torch.Generator().manual_seed(0)
    random = [radius(distance, torch.randperm(500, generator=generator)[:25].tolist()) for _ in range(100)]
    assert ours < min(random)
