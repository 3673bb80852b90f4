"""Nearest neighbours, against scikit-learn and brute force."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from graph.conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dynsel.graph import (
    nearest_neighbours,
)
from dynsel.graph import neighbours as module


def brute(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest others by (distance, index), from float64 differences."""
    x = x.astype(np.float64)
    apart = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(apart, order, 1), order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_neighbours_are_those_of_scikit_learn(dtype):
    x = blobs(300).to(dtype)
    distances, indices = nearest_neighbours(x, 7)
    theirs, order = NearestNeighbors(n_neighbors=7).fit(x.numpy().astype(np.float64)).kneighbors()
    assert (distances.dtype, indices.dtype) == (torch.float32, torch.int64)
    np.testing.assert_allclose(distances, theirs, rtol=1e-5)
    assert (indices.numpy() == order).mean() > 0.999


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(1, 3), st.integers(1, 29), st.integers(0, 10**6))
def test_ties_and_duplicates_go_by_index(n, d, k, seed):
    """On a coarse grid nearly all distances are shared by several samples."""
    k = min(k, n - 1)
    x = np.random.default_rng(seed).integers(0, 3, (n, d)).astype(np.float32)
    distances, indices = nearest_neighbours(x, k)
    theirs, order = brute(x, k)
    np.testing.assert_allclose(distances, theirs, rtol=1e-6)
    assert indices.tolist() == order.tolist()


def test_far_from_the_origin_nothing_is_lost():
    x = blobs(200).numpy().astype(np.float32)
    distances, _ = nearest_neighbours(x + 1000, 5)
    np.testing.assert_allclose(distances, brute(x + np.float32(1000), 5)[0], rtol=1e-5)


def test_all_samples_the_same():
    distances, indices = nearest_neighbours(torch.ones(6, 2), 3)
    assert distances.eq(0).all()
    assert indices.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_the_search_of_a_gpu_finds_the_same(monkeypatch):
    """By matrix products, in blocks of a few rows."""
    x = blobs(150)
    wanted = nearest_neighbours(x, 8)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 2**9)
    monkeypatch.setattr(module, "_candidates", module._search_by_products)
    distances, indices = nearest_neighbours(x, 8)
    assert torch.equal(indices, wanted[1])
    assert torch.equal(distances, wanted[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_approximate_neighbours_are_nearly_the_true_ones(monkeypatch: pytest.MonkeyPatch, grouped: bool) -> None:
    pytest.importorskip("faiss")
    if grouped:
        monkeypatch.setattr(module, "_CELL", 64)
        monkeypatch.setattr(module, "_MANY", 100)
    x = blobs(20_000, dim=8, centres=30)
    distances, indices = nearest_neighbours(x, 15, approximate=True)
    true, wanted = nearest_neighbours(x, 15, approximate=False)
    assert (indices != torch.arange(len(x))[:, None]).all()
    ordered = indices.sort(dim=1).values
    assert (ordered[:, 1:] > ordered[:, :-1]).all(), "a neighbour stands there twice"
    found = np.mean([len(np.intersect1d(a, b)) / 15 for a, b in zip(indices.numpy(), wanted.numpy(), strict=True)])
    assert found > 0.98
    torch.testing.assert_close(distances, (x[indices] - x[:, None]).norm(dim=2))
    assert (distances >= true - 1e-5).all()
    assert torch.equal(nearest_neighbours(x, 15, approximate=True)[1], indices), "not the same twice"


@pytest.mark.parametrize("many", [1, 2048])
@pytest.mark.parametrize("count", [5, 100, 2000])
def test_cells_that_hold_too_few_are_searched_exactly(monkeypatch: pytest.MonkeyPatch, count: int, many: int) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "_MANY", many)
    x = torch.cat([torch.zeros(count - 2, 3), torch.full((2, 3), 9.0)])
    for got, wanted in zip(
        nearest_neighbours(x, 3, approximate=True), nearest_neighbours(x, 3, approximate=False), strict=True
    ):
        assert torch.equal(got, wanted)


def test_large_sets_are_searched_approximately(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "_LARGE", 500)
    asked = []
    search = module._near_candidates
    monkeypatch.setattr(module, "_near_candidates", lambda *given: asked.append(given) or search(*given))
    nearest_neighbours(blobs(499), 3)
    assert not asked
    nearest_neighbours(blobs(500), 3)
    assert len(asked) == 1


def test_without_faiss_the_search_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs faiss: pip install faiss-cpu, or approximate=False"):
        nearest_neighbours(blobs(50), 3, approximate=True)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "_LARGE", 10)
    assert nearest_neighbours(blobs(50), 3)[1].shape == (50, 3)


@pytest.mark.parametrize("k", [0, 5, 6])
def test_more_neighbours_than_samples(k):
    text = rf"`k` must be between 1 and N - 1 = 4, got {k}; a sample is no neighbour of its own"
    with pytest.raises(ValueError, match=text):
        nearest_neighbours(torch.randn(5, 2), k)


def test_nan_features_are_named():
    x = torch.zeros(5, 2)
    x[3, 1] = torch.nan
    with pytest.raises(ValueError, match="got NaN or infinite values in row 3"):
        nearest_neighbours(x, 2)
