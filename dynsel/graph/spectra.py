"""Laplacian and spectral embedding of a sparse neighbour graph; public as `dynsel.graph`."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.matrices import Array, Sparse

__all__ = ["laplacian", "spectral_embedding"]

_STEPS = 5  # of LOBPCG
_DENSE = 512  # below so many nodes a dense eigensolver is the faster one


def laplacian(graph: Sparse) -> Sparse:
    """The symmetric normalized Laplacian of a graph, I - D^-½ W D^-½, by `torch_geometric.utils.get_laplacian`.

    D holds the sums of the rows of W. A node without edges has 1 on the diagonal.

    Args:
        graph: (N, N) scipy sparse, symmetric, weights not negative; its diagonal is ignored.

    Returns:
        (N, N) scipy CSR array of the graph's precision, eigenvalues in [0, 2].

    Raises:
        ValueError: If a weight is negative or NaN.

    Reference:
        Chung (1997), Spectral graph theory, section 1.2.
    """
    from scipy.sparse import csr_array
    from torch_geometric.utils import get_laplacian

    coo = graph.tocoo()
    ends = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    weights = torch.from_numpy(np.asarray(coo.data))
    if not bool((weights >= 0).all()):
        raise ValueError("`graph` must have no negative or NaN weights")
    ends, weights = get_laplacian(ends, weights, "sym", num_nodes=graph.shape[0])
    summed = torch.sparse_coo_tensor(ends, weights, graph.shape, check_invariants=False).coalesce()
    row, column = summed.indices().numpy()
    return csr_array((summed.values().numpy(), (row, column)), shape=graph.shape)


def spectral_embedding(graph: Sparse, dim: int, seed: int, *, start: Tensor | None = None) -> Tensor:
    """Coordinates that vary as slowly as possible over the graph: eigenvectors of its normalized Laplacian.

    Those of the `dim` smallest eigenvalues besides zero, ascending; the vector of eigenvalue zero, D^½ 1, is known and
    projected out. Each column has variance 1 and its entry of largest magnitude is positive. Below 512 nodes by a dense
    eigensolver, else by Lanczos in float64.

    Args:
        graph: (N, N) scipy sparse, symmetric, not negative, connected (see `connect`).
        dim: Number of columns, 1 .. N - 2.
        seed: Seed for the start vector of Lanczos; the result depends on it by rounding only, except where
            eigenvalues are equal.
        start: (N, dim) the embedding of a graph that was much the same. Five steps of LOBPCG in float32 then take it
            there, nearly, in a twentieth of the time; of small graphs it isn't looked at.

    Returns:
        (N, dim) float32, on the CPU.

    Raises:
        ValueError: If `dim` is out of range, or the graph isn't connected.
        RuntimeError: If the eigensolver doesn't converge.

    Reference:
        Belkin and Niyogi (2003), Laplacian eigenmaps for dimensionality reduction and data representation; FAST
        (2025), arXiv:2511.19476, eq. 2.
    """
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.csgraph import connected_components

    count = graph.shape[0]
    if not 1 <= dim <= count - 2:
        raise ValueError(f"`dim` must be between 1 and N - 2 = {count - 2}, got {dim}; lower it or take more samples")
    graph = csr_array(graph, dtype=np.float64)
    graph.setdiag(0)
    if (parts := connected_components(graph, directed=False, return_labels=False)) > 1:
        raise ValueError(f"`graph` must be connected, got {parts} parts; `connect` joins them")
    null = np.sqrt(np.asarray(graph.sum(1)).ravel())
    if start is not None and start.shape == (count, dim) and not _is_small(count, dim):
        vectors = _improved(graph, null, start.numpy())
        if vectors is not None:
            return _scaled(vectors)
    adjacency = eye_array(count, format="csr") - laplacian(graph)
    return _scaled(_largest(adjacency, null / np.linalg.norm(null), dim, seed))


def _scaled(vectors: Array) -> Tensor:
    """Columns of variance 1, with canonical signs."""
    columns = torch.from_numpy(vectors.copy())
    columns = columns / columns.std(0, correction=0)
    return (columns * _signs(columns.T)).float()


def _largest(adjacency: Sparse, null: Array, dim: int, seed: int) -> Array:
    """Eigenvectors of the largest eigenvalues besides that of `null`, (N, dim), descending."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    count = len(null)
    # The eigenvalue of `null` goes from 1, the largest, to -1, below which there is none.
    if _is_small(count, dim):
        dense = adjacency.toarray() - 2 * np.outer(null, null)
        vectors: Array = eigh(dense, subset_by_index=[count - dim, count - 1])[1]
        return vectors[:, ::-1]
    operator = LinearOperator(adjacency.shape, lambda v: adjacency @ v - 2 * null * (null @ v), dtype=adjacency.dtype)
    start = np.random.default_rng(seed).standard_normal(count)
    try:
        values, vectors = eigsh(operator, dim, which="LA", v0=start, ncv=min(count, 4 * dim + 20), tol=1e-6)
    except ArpackNoConvergence as error:
        raise RuntimeError(f"the eigenvectors of the graph didn't converge: {error}") from error
    return vectors[:, np.argsort(-values, kind="stable")]


def _is_small(count: int, dim: int) -> bool:
    return count <= _DENSE or 4 * dim > count


def _improved(graph: Sparse, null: Array, start: Array) -> Array | None:
    """Eigenvectors as of `_largest`, nearly; None if the start is of no use."""
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import lobpcg

    root = diags_array((1 / null).astype(np.float32))
    adjacency = (root @ graph.astype(np.float32) @ root).tocsr()
    known = (null / np.linalg.norm(null)).astype(np.float32)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it hasn't converged to the last digit
        try:
            values, vectors = lobpcg(
                adjacency, start.astype(np.float32), Y=known, tol=1e-4, maxiter=_STEPS, largest=True
            )
        except (np.linalg.LinAlgError, ValueError):  # columns that depend on each other
            return None
    if not np.isfinite(vectors).all():
        return None
    found: Array = vectors[:, np.argsort(-values, kind="stable")]
    return found


def _signs(rows: Tensor) -> Tensor:
    """The sign of the entry of largest magnitude of each row, of nearly equal ones the first; (...)."""
    size = rows.abs()
    # argmax of bool isn't promised to be the first on all devices; of integers that differ it is.
    first = (size >= size.amax(-1, keepdim=True) * (1 - 1e-6)).int()
    place = (first * torch.arange(rows.shape[-1], 0, -1, device=rows.device)).argmax(-1, keepdim=True)
    return torch.where(rows.gather(-1, place)[..., 0] < 0, -1.0, 1.0).to(rows)
