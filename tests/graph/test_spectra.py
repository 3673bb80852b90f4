"""Laplacian and spectral embedding, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from graph.conftest import blobs, graph_of, path
from scipy.sparse import block_diag, csr_array
from scipy.sparse.csgraph import laplacian as scipy_laplacian

from dynsel.graph import (
    connect,
    laplacian,
    spectral_embedding,
)


def test_the_laplacian_is_scipys():
    """Of a float64 graph, so that only the order of sums differs."""
    graph = graph_of(blobs(50)).astype(np.float64)
    np.testing.assert_allclose(laplacian(graph).toarray(), scipy_laplacian(graph, normed=True).toarray(), atol=1e-12)


def test_a_node_without_edges_has_one_on_the_diagonal():
    graph = csr_array(block_diag([path(3).numpy(), csr_array((1, 1))]))
    half = math.sqrt(0.5)
    wanted = [[1, -half, 0, 0], [-half, 1, -half, 0], [0, -half, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(laplacian(graph).toarray(), wanted, atol=1e-6)


def test_an_embedding_of_one_dimension_is_the_first_of_several():
    graph = graph_of(blobs(50))
    one, two = (spectral_embedding(graph, dim, 0) for dim in (1, 2))
    assert one.shape == (50, 1)
    torch.testing.assert_close(one[:, 0], two[:, 0], atol=1e-3, rtol=1e-3)


def test_negative_weights_have_no_laplacian():
    with pytest.raises(ValueError, match="`graph` must have no negative or NaN weights"):
        laplacian(-graph_of(blobs(20)))


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


def test_the_embedding_is_deterministic_and_hardly_depends_on_the_seed():
    x = blobs(700)
    graph, _ = connect(graph_of(x), x)
    first = spectral_embedding(graph, 5, seed=1)
    assert torch.equal(first, spectral_embedding(graph, 5, seed=1))
    np.testing.assert_allclose(first, spectral_embedding(graph, 5, seed=2), atol=1e-3)


def test_clusters_lie_apart():
    x = blobs(600, centres=2, apart=10.0)
    graph, parts = connect(graph_of(x), x)
    assert parts == 2
    side = spectral_embedding(graph, 1, seed=0)[:, 0] > 0
    assert len(set(side[::2].tolist())) == len(set(side[1::2].tolist())) == 1
    assert side[0] != side[1]


def test_a_graph_in_parts_is_refused():
    with pytest.raises(ValueError, match="`graph` must be connected, got 3 parts; `connect` joins them"):
        spectral_embedding(csr_array(block_diag([path(2).numpy()] * 3)), 4, seed=0)


def test_more_columns_than_there_are():
    graph = csr_array(path(6).numpy())
    with pytest.raises(ValueError, match="`dim` must be between 1 and N - 2 = 4, got 5; lower it"):
        spectral_embedding(graph, 5, seed=0)
    assert spectral_embedding(graph, 4, seed=0).shape == (6, 4)


def test_from_the_last_embedding_it_takes_few_steps_to_the_next():
    """Beside the exact one: the same space, nearly, and quotients that are hardly larger."""
    x = blobs(700)
    moved = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    before, after = graph_of(x), connect(graph_of(moved), moved)[0]
    last = spectral_embedding(connect(before, x)[0], 4, seed=0)
    found, true = spectral_embedding(after, 4, seed=0, start=last), spectral_embedding(after, 4, seed=0)
    matrix = laplacian(after.astype(np.float64)).toarray()
    quotients = [np.diag(v.T @ matrix @ v) / (v * v).sum(0) for v in (found.double().numpy(), true.double().numpy())]
    assert (quotients[0] <= quotients[1] * 1.05 + 1e-4).all()
    cosines = np.cos(scipy.linalg.subspace_angles(found.double().numpy(), true.double().numpy()))
    assert cosines.min() > 0.99
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(4), rtol=1e-4, atol=0)


def test_of_a_small_graph_the_last_embedding_is_not_looked_at():
    graph = connect(graph_of(blobs(60)), blobs(60))[0]
    start = torch.zeros(60, 3)
    assert torch.equal(spectral_embedding(graph, 3, seed=0, start=start), spectral_embedding(graph, 3, seed=0))


def test_a_start_of_no_use_is_left():
    graph = connect(graph_of(blobs(700)), blobs(700))[0]
    for start in (torch.zeros(700, 3), torch.ones(700, 3), torch.full((700, 3), torch.nan)):
        assert torch.equal(spectral_embedding(graph, 3, seed=0, start=start), spectral_embedding(graph, 3, seed=0))
