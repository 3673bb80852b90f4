"""Fiedler vectors, against scipy and graphs with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from graph.conftest import path
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.graph import (
    cosine_graphs,
    fiedler_vectors,
)


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
