"""The fuzzy graph and its connectivity, against umap-learn and scipy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from graph.conftest import blobs, graph_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from sklearn.metrics import pairwise_distances

from dynsel.graph import (
    connect,
    fuzzy_graph,
    nearest_neighbours,
)
from dynsel.graph import fuzzy as module

REFERENCE = Path(__file__).parent / "graph_reference.npz"


def load_reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.mark.parametrize("k", [5, 15, 30])
def test_each_scale_is_umaps_graph(k):
    reference = load_reference()
    ours = fuzzy_graph(*nearest_neighbours(reference["points"], 30), [k]).toarray()
    np.testing.assert_allclose(ours, reference[f"k{k}"], atol=2e-5)


def test_blocks_of_samples_dont_matter(monkeypatch):
    x = blobs(200)
    x[5:45] = x[5]  # so many duplicates that some samples have no other neighbours
    found = nearest_neighbours(x, 30)
    whole = fuzzy_graph(*found)
    monkeypatch.setattr(module, "_CACHED", 7)
    assert (fuzzy_graph(*found) != whole).nnz == 0
    assert (whole.toarray()[5, found[1][5]] == 1).all()  # duplicates count fully


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_distances_of_any_precision(dtype):
    distances, indices = nearest_neighbours(blobs(50), 5)
    distances = distances.to(dtype)
    assert (fuzzy_graph(distances, indices, [5]) != fuzzy_graph(distances.float(), indices, [5])).nnz == 0


def test_scales_are_joined_by_the_fuzzy_union():
    reference = load_reference()
    ours = fuzzy_graph(*nearest_neighbours(reference["points"], 30)).toarray()
    joined = 1 - np.prod([1 - reference[f"k{k}"].astype(np.float64) for k in (5, 15, 30)], axis=0)
    np.testing.assert_allclose(ours, joined, atol=5e-5)


@pytest.mark.long
def test_umap_itself():
    pytest.importorskip("umap")
    from programs.umap_reference import umap_graph

    x = blobs(200, seed=3).numpy()
    ours = fuzzy_graph(*nearest_neighbours(x, 10), [10]).toarray()
    np.testing.assert_allclose(ours, umap_graph(x, 11), atol=2e-5)


def test_weights_sum_to_log2():
    distances, _ = nearest_neighbours(blobs(100), 12)
    weights = module._memberships(distances.double().numpy())
    np.testing.assert_allclose(weights.sum(1), math.log2(13), atol=2e-5)
    assert (weights[:, 0] == 1).all()  # the nearest counts fully


@settings(max_examples=20)
@given(st.integers(4, 40), st.integers(0, 10**6), st.booleans())
def test_a_fuzzy_graph_is_symmetric_and_within_bounds(n, seed, coarse):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    x = x.round() if coarse else x
    graph = graph_of(x, (1, 3))
    assert graph.dtype == np.float32
    assert abs(graph - graph.T).max() == 0
    assert graph.diagonal().sum() == 0
    assert 0 < graph.data.min() <= graph.data.max() <= 1
    assert (np.diff(graph.indptr) >= 1).all()


@pytest.mark.parametrize("scales", [(), (0,), (3, 5)])
def test_scales_out_of_range(scales):
    near = nearest_neighbours(torch.randn(10, 2), 4)
    with pytest.raises(ValueError, match="`scales` must be between 1 and the number of neighbours found, 4, got"):
        fuzzy_graph(*near, scales)


def test_distances_and_indices_of_other_shapes():
    with pytest.raises(ValueError, match=r"must be \(N, K\) alike, got \(3, 2\) and \(3, 1\)"):
        fuzzy_graph(torch.zeros(3, 2), torch.zeros(3, 1), [1])


# ---------------------------------------------------------------- connectivity
def test_parts_are_joined_at_their_nearest_pairs():
    x = torch.cat([blobs(20, centres=1, seed=i) + 100 * i for i in range(4)])
    graph = graph_of(x, (3,))
    whole, parts = connect(graph, x, floor=0.25)
    assert parts == connected_components(graph)[0] == 4
    assert connected_components(whole)[0] == 1
    new = ((whole != 0).astype(int) - (graph != 0).astype(int)).tocoo()
    new.eliminate_zeros()
    assert new.nnz == 2 * 3
    apart = pairwise_distances(x.numpy())
    group = np.arange(80) // 20
    for i, j in zip(new.row, new.col, strict=True):
        assert apart[i, j] == pytest.approx(apart[np.ix_(group == group[i], group == group[j])].min(), rel=1e-6)
        assert whole[i, j] == 0.25
    assert abs(whole - whole.T).max() == 0


def test_the_spanning_tree_is_strengthened():
    x = blobs(60, centres=1)
    graph = graph_of(x)
    whole, parts = connect(graph, x, floor=0.1)
    assert parts == 1
    lengths = graph.copy()
    lengths.data = 2 - lengths.data  # same order, same tree
    tree = (minimum_spanning_tree(lengths) != 0).toarray()
    tree |= tree.T
    weights = graph.toarray()
    wanted = np.where(tree, weights + 0.1 - 0.1 * weights, weights)
    # Where weights are equal there are several spanning trees, of equal weights.
    np.testing.assert_allclose(np.sort(whole.toarray().ravel()), np.sort(wanted.ravel()), atol=1e-6)


def test_many_parts_are_joined_in_rounds():
    x = blobs(24).repeat_interleave(4, 0)
    x += torch.arange(96)[:, None] % 4 * 1e-3
    graph = graph_of(x, (2,))
    whole, parts = connect(graph, x)
    assert parts > 8
    assert connected_components(whole)[0] == 1


@pytest.mark.parametrize("pairs", [0, 2000, 10_000])
def test_large_parts_are_joined_by_some_of_their_samples(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    """Each new edge is the shortest from one of its ends to the other part."""
    x = torch.cat([blobs(n, centres=1, seed=n) + 100 * i for i, n in enumerate((60, 30, 70, 40))])
    group = np.repeat(np.arange(4), (60, 30, 70, 40))
    graph = graph_of(x, (3,))
    monkeypatch.setattr(module, "_PAIRS", pairs)
    whole, parts = connect(graph, x)
    assert (parts, connected_components(whole)[0]) == (4, 1)
    new = ((whole != 0).astype(int) - (graph != 0).astype(int)).tocoo()
    new.eliminate_zeros()
    assert new.nnz == 2 * 3
    apart = pairwise_distances(x.numpy())
    for i, j in zip(new.row, new.col, strict=True):
        assert group[i] != group[j]
        ends = apart[i][group == group[j]].min(), apart[j][group == group[i]].min()
        assert min(abs(apart[i, j] - end) for end in ends) < 1e-4


def test_a_share_of_each_part_is_looked_at() -> None:
    label = torch.tensor([0] * 50 + [1] * 3 + [2] * 500)
    rows = (label != 2).nonzero()[:, 0]
    assert torch.equal(module._thinned(rows, label, 53), rows)
    assert label[module._thinned(rows, label, 20)].bincount().tolist() == [10, 3]
    assert label[module._thinned(rows, label, 0)].bincount().tolist() == [1, 1]


def test_connect_says_what_is_wrong():
    graph = graph_of(torch.randn(10, 2), (3,))
    with pytest.raises(ValueError, match=r"`graph` must be \(9, 9\) for these features, got \(10, 10\)"):
        connect(graph, torch.randn(9, 2))
    with pytest.raises(ValueError, match=r"`floor` must be in \(0, 1\], got 0"):
        connect(graph, torch.randn(10, 2), floor=0)
