"""Neighbour graphs and their spectra, against scikit-learn, umap-learn, scipy and graphs with known answers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import block_diag, csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.csgraph import laplacian as scipy_laplacian
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from dynsel import graph as graph_module
from dynsel.graph import (
    connect,
    cosine_graphs,
    fiedler_vectors,
    fuzzy_graph,
    laplacian,
    nearest_neighbours,
    spectral_embedding,
)

REFERENCE = Path(__file__).parent / "graph_reference.npz"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(count: int, dim: int = 5, centres: int = 3, seed: int = 0, apart: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, dim, generator=generator) * apart
    return middle[torch.arange(count) % centres] + torch.randn(count, dim, generator=generator)


def graph_of(x: torch.Tensor, scales: tuple[int, ...] = (5, 15)) -> csr_array:
    return fuzzy_graph(*nearest_neighbours(x, max(scales)), scales)


def path(count: int) -> torch.Tensor:
    return torch.diag(torch.ones(count - 1), 1) + torch.diag(torch.ones(count - 1), -1)


def brute(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest others by (distance, index), from float64 differences."""
    x = x.astype(np.float64)
    apart = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(apart, order, 1), order


# ---------------------------------------------------------------- neighbours
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
    monkeypatch.setattr(graph_module, "_BLOCK_VALUES", 2**9)
    monkeypatch.setattr(graph_module, "_candidates", graph_module._search_by_products)
    distances, indices = nearest_neighbours(x, 8)
    assert torch.equal(indices, wanted[1])
    assert torch.equal(distances, wanted[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_approximate_neighbours_are_nearly_the_true_ones(monkeypatch: pytest.MonkeyPatch, grouped: bool) -> None:
    pytest.importorskip("faiss")
    if grouped:
        monkeypatch.setattr(graph_module, "_CELL", 64)
        monkeypatch.setattr(graph_module, "_MANY", 100)
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
    monkeypatch.setattr(graph_module, "_MANY", many)
    x = torch.cat([torch.zeros(count - 2, 3), torch.full((2, 3), 9.0)])
    for got, wanted in zip(
        nearest_neighbours(x, 3, approximate=True), nearest_neighbours(x, 3, approximate=False), strict=True
    ):
        assert torch.equal(got, wanted)


def test_large_sets_are_searched_approximately(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(graph_module, "_LARGE", 500)
    asked = []
    search = graph_module._near_candidates
    monkeypatch.setattr(graph_module, "_near_candidates", lambda *given: asked.append(given) or search(*given))
    nearest_neighbours(blobs(499), 3)
    assert not asked
    nearest_neighbours(blobs(500), 3)
    assert len(asked) == 1


def test_without_faiss_the_search_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs faiss: pip install dynsel\[graph\], or approximate=False"):
        nearest_neighbours(blobs(50), 3, approximate=True)
    monkeypatch.setattr(graph_module, "find_spec", lambda name: None)
    monkeypatch.setattr(graph_module, "_LARGE", 10)
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


# ---------------------------------------------------------------- the fuzzy graph
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
    monkeypatch.setattr(graph_module, "_CACHED", 7)
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
    weights = graph_module._memberships(distances.double().numpy())
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
    monkeypatch.setattr(graph_module, "_PAIRS", pairs)
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
    assert torch.equal(graph_module._thinned(rows, label, 53), rows)
    assert label[graph_module._thinned(rows, label, 20)].bincount().tolist() == [10, 3]
    assert label[graph_module._thinned(rows, label, 0)].bincount().tolist() == [1, 1]


def test_connect_says_what_is_wrong():
    graph = graph_of(torch.randn(10, 2), (3,))
    with pytest.raises(ValueError, match=r"`graph` must be \(9, 9\) for these features, got \(10, 10\)"):
        connect(graph, torch.randn(9, 2))
    with pytest.raises(ValueError, match=r"`floor` must be in \(0, 1\], got 0"):
        connect(graph, torch.randn(10, 2), floor=0)


# ---------------------------------------------------------------- Laplacian
@pytest.mark.parametrize(("kind", "normed"), [("none", False), ("sym", True)])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_laplacian_is_scipys(kind, normed, as_tensor):
    graph = graph_of(blobs(50))
    given = torch.from_numpy(graph.toarray()).to_sparse() if as_tensor else graph
    np.testing.assert_allclose(laplacian(given, kind).to_dense(), scipy_laplacian(graph, normed).toarray(), atol=1e-6)


def test_the_random_walk_laplacian_has_rows_that_sum_to_nothing():
    dense = laplacian(graph_of(blobs(50)), "rw").to_dense()
    np.testing.assert_allclose(dense.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose(dense.diagonal(), 1, atol=1e-6)


def test_bad_laplacians():
    graph = graph_of(blobs(20))
    with pytest.raises(ValueError, match="`normalisation` must be 'none', 'sym' or 'rw', got 'symmetric'"):
        laplacian(graph, "symmetric")
    with pytest.raises(ValueError, match="`graph` must have no negative or NaN weights"):
        laplacian(-graph)


# ---------------------------------------------------------------- spectral embedding
def eigenspaces(graph: csr_array, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The non-trivial eigenvalues and eigenvectors of scipy's Laplacian, all of them."""
    values, vectors = scipy.linalg.eigh(scipy_laplacian(graph, normed=True).toarray().astype(np.float64))
    zero = int((values < 1e-6).sum())
    return values[zero : zero + dim], vectors[:, zero : zero + dim]


@pytest.mark.parametrize("count", [100, 700])  # dense and Lanczos
def test_the_embedding_is_scipys_eigenvectors(count):
    x = blobs(count)
    graph, _ = connect(graph_of(x), x)
    embedding = spectral_embedding(graph, 4, seed=0)
    _, vectors = eigenspaces(graph, 4)
    assert embedding.dtype == torch.float32
    np.testing.assert_allclose(embedding.std(0, correction=0), 1, rtol=1e-5)
    unit = torch.nn.functional.normalize(embedding, dim=0).numpy()
    np.testing.assert_allclose(np.abs((unit * vectors).sum(0)), 1, atol=1e-5)
    assert (embedding[embedding.abs().argmax(0), range(4)] > 0).all()


@pytest.mark.parametrize("count", [120, 900])
def test_a_graph_in_parts_has_its_null_space_left_out(count):
    """Even without `connect`: as many eigenvalues are zero as there are parts, isolated nodes among them."""
    inside = [graph_of(blobs(count // 3, centres=1, seed=i)) for i in range(3)]
    graph = csr_array(block_diag([*inside, csr_array((1, 1))]))
    embedding = spectral_embedding(graph, 3, seed=0)
    values, _ = eigenspaces(csr_array(block_diag(inside)), 3)
    operator = scipy_laplacian(graph, normed=True).toarray()
    np.fill_diagonal(operator, 1.0)
    unit = torch.nn.functional.normalize(embedding, dim=0).double().numpy()
    np.testing.assert_allclose(((operator @ unit) * unit).sum(0), values, atol=1e-4)


def test_the_embedding_is_deterministic_and_hardly_depends_on_the_seed():
    x = blobs(700)
    graph, _ = connect(graph_of(x), x)
    first = spectral_embedding(graph, 5, seed=1)
    assert torch.equal(first, spectral_embedding(graph, 5, seed=1))
    np.testing.assert_allclose(first, spectral_embedding(graph, 5, seed=2), atol=1e-3)


def test_the_eigensolver_of_a_gpu_finds_the_same(monkeypatch):
    x = blobs(700)
    graph, _ = connect(graph_of(x), x)
    wanted = spectral_embedding(graph, 5, seed=0)

    def lobpcg(adjacency, null, dim, seed):
        vector = np.asarray(null.sum(1)).ravel()
        return graph_module._largest_by_lobpcg(adjacency, vector, 1, dim, seed, torch.device("cpu"))

    monkeypatch.setattr(graph_module, "_largest", lobpcg)
    np.testing.assert_allclose(spectral_embedding(graph, 5, seed=0), wanted, atol=1e-3)
    with pytest.raises(ValueError, match="`graph` must be connected on a GPU, got 3 parts; `connect` it"):
        graph_module._largest_by_lobpcg(graph, np.ones(700), 3, 2, 0, torch.device("cpu"))


def test_clusters_lie_apart():
    x = blobs(600, centres=2, apart=10.0)
    graph, parts = connect(graph_of(x), x)
    assert parts == 2
    side = spectral_embedding(graph, 1, seed=0)[:, 0] > 0
    assert len(set(side[::2].tolist())) == len(set(side[1::2].tolist())) == 1
    assert side[0] != side[1]


def test_more_columns_than_there_are():
    graph = csr_array(path(6).numpy())
    with pytest.raises(ValueError, match="`dim` must be between 1 and N - 2 = 4, got 5; lower it"):
        spectral_embedding(graph, 5, seed=0)
    with pytest.raises(ValueError, match="N minus the number of parts, 6 - 3, got 4; `connect` the graph"):
        spectral_embedding(csr_array(block_diag([path(2).numpy()] * 3)), 4, seed=0)
    assert spectral_embedding(graph, 4, seed=0).shape == (6, 4)


# ---------------------------------------------------------------- Fiedler vectors
def test_the_fiedler_vector_of_a_path_is_a_cosine():
    n = 9
    wanted = torch.cos(math.pi * (torch.arange(n) + 0.5) / n)
    np.testing.assert_allclose(fiedler_vectors(path(n)), wanted / wanted.norm(), atol=1e-6)


def two_cliques(size: int, bridge: float) -> torch.Tensor:
    graph = torch.block_diag(torch.ones(size, size), torch.ones(size, size))
    graph[size - 1, size] = graph[size, size - 1] = bridge
    return graph


@pytest.mark.parametrize("bridge", [1.0, 1e-4, 1e-10, 0.0])
def test_two_cliques_are_told_apart(bridge):
    vector = fiedler_vectors(two_cliques(6, bridge))
    assert (vector[:6] > 0).all() == (vector[6:] < 0).all()
    assert (vector[:6] > 0).all() == (vector[0] > 0)
    assert abs(float(vector.sum())) < 1e-5


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(3, 30), st.integers(0, 10**6))
def test_batched_vectors_are_scipys(graphs, size, seed):
    x = torch.randn(graphs, size, 4, generator=torch.Generator().manual_seed(seed)) + 1
    similarity = cosine_graphs(x)
    ours = fiedler_vectors(similarity)
    for mine, s in zip(ours.double().numpy(), similarity.double().numpy(), strict=True):
        values, vectors = scipy.linalg.eigh(np.diag(s.sum(1)) - s)
        if values[2] - values[1] > 1e-4 and values[1] > 1e-4:
            assert abs(mine @ vectors[:, 1]) == pytest.approx(1, abs=1e-5)
        laplace = np.diag(s.sum(1)) - s
        assert mine @ laplace @ mine == pytest.approx(values[1], abs=1e-4)
        assert mine[np.abs(mine).argmax()] > 0 or abs(mine.max() + mine.min()) < 1e-5


def test_large_graphs_by_lanczos():
    """Beyond 512 samples the solver is another one; the vectors are scipy's full solver's."""
    x = torch.randn(2, 600, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    similarity = cosine_graphs(x)
    for mine, s in zip(fiedler_vectors(similarity).double().numpy(), similarity.double().numpy(), strict=True):
        _, vectors = scipy.linalg.eigh(np.diag(s.sum(1)) - s)
        assert abs(mine @ vectors[:, 1]) == pytest.approx(1, abs=1e-6)
        assert mine[np.abs(mine).argmax()] > 0


def test_large_graphs_that_fall_apart():
    vector = fiedler_vectors(two_cliques(300, 0.0))
    assert len(set(vector[:300].sign().tolist())) == len(set(vector[300:].sign().tolist())) == 1
    assert vector[0] * vector[300] < 0
    # Every vector without mean is one, and Lanczos finds one of them, always the same.
    same = [fiedler_vectors(torch.ones(600, 600)) for _ in range(2)]
    assert torch.equal(*same)
    assert abs(float(same[0].sum())) < 1e-4


def test_equal_eigenvalues_have_one_answer():
    """In a complete graph every vector without mean is one; ours is that of the first sample, on any machine."""
    wanted = torch.full((5,), -0.2)
    wanted[0] = 0.8
    np.testing.assert_allclose(fiedler_vectors(torch.ones(5, 5)), wanted / wanted.norm(), atol=1e-6)
    np.testing.assert_allclose(fiedler_vectors(torch.zeros(5, 5)), wanted / wanted.norm(), atol=1e-6)


def test_two_samples():
    np.testing.assert_allclose(fiedler_vectors(path(2)[None]), [[math.sqrt(0.5), -math.sqrt(0.5)]], atol=1e-6)


def test_the_order_of_samples_does_not_matter():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    vector, mixed = fiedler_vectors(cosine_graphs(torch.stack([x, x[order]])))
    np.testing.assert_allclose(mixed, vector[order], atol=1e-5)


def test_cosine_graphs_by_hand():
    graph = cosine_graphs(torch.tensor([[1.0, 0.0], [2.0, 2.0], [-3.0, 0.0]]))
    half = math.sqrt(0.5)
    np.testing.assert_allclose(graph, [[0, half, 0], [half, 0, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("similarity", "text"),
    [
        (torch.ones(3, 4), r"`similarity` must be \(G, B, B\) with at least 2 samples a graph, got \(3, 4\)"),
        (torch.ones(2, 1, 1), r"at least 2 samples a graph, got \(2, 1, 1\)"),
        (-torch.ones(3, 3), "`similarity` must be finite and not negative"),
        (torch.full((3, 3), torch.nan), "`similarity` must be finite and not negative"),
    ],
)
def test_bad_similarities(similarity, text):
    with pytest.raises(ValueError, match=text):
        fiedler_vectors(similarity)
