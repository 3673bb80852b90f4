"""Neighbours of features that moved: beside an exact search, and beside those of before."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from dynsel.graph import improve_neighbours, nearest_neighbours


def surface(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(n, 3, generator=generator)
    return (place @ torch.randn(3, 12, generator=generator) * 2).sin()


def exact(x: torch.Tensor, k: int) -> torch.Tensor:
    found = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x.double().numpy())
    return torch.from_numpy(found.kneighbors(return_distance=False)[:, :k])


def share(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found[:, :, None] == true[:, None]).any(2).double().mean())


def test_what_it_returns_are_neighbours_with_their_distances():
    x = surface(300)
    before = nearest_neighbours(x, 6)[1]
    moved = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    distances, indices = improve_neighbours(moved, before, seed=0)
    assert not (indices == torch.arange(300)[:, None]).any()
    assert all(len(set(row)) == 6 for row in indices.tolist())
    true = (moved.double()[indices] - moved.double()[:, None]).norm(dim=2)
    torch.testing.assert_close(distances.double(), true, rtol=1e-5, atol=1e-6)
    assert (distances.diff(dim=1) >= 0).all()


def test_rounds_come_nearer_to_the_exact_ones():
    x = surface(1000)
    before = nearest_neighbours(x, 8)[1]
    moved = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    true = exact(moved, 8)
    found, shares = before, [share(before, true)]
    for seed in range(4):
        _, found = improve_neighbours(moved, found, seed)
        shares.append(share(found, true))
    assert shares == sorted(shares)
    assert shares[1] - shares[0] > 0.2 * (1 - shares[0])
    assert shares[-1] > 0.9


def test_features_may_move_again_and_again():
    """What a round misses doesn't add up: the search in cells begins anew each time."""
    x, generator = surface(2000), torch.Generator().manual_seed(2)
    first = found = nearest_neighbours(x, 8)[1]
    for epoch in range(10):
        x = x + 0.04 * torch.randn(x.shape, generator=generator)
        _, found = improve_neighbours(x, found, epoch)
    true = exact(x, 8)
    assert share(found, true) > 0.8
    assert share(found, true) > share(first, true) + 0.3


def test_of_features_that_stay_the_exact_ones_stay():
    x = surface(200)
    before, indices = nearest_neighbours(x, 5)
    again, found = improve_neighbours(x, indices, seed=3)
    torch.testing.assert_close(again, before)
    assert share(found, indices) == 1


def test_indices_of_other_samples_are_refused():
    with pytest.raises(ValueError, match=r"`indices` must be \(30, k\), one row per sample, got \(20, 4\)"):
        improve_neighbours(surface(30), torch.zeros(20, 4, dtype=torch.int64), seed=0)
