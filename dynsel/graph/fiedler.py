"""Fiedler vectors of many small similarity graphs at once; public as `dynsel.graph`.

Shapes: G graphs of B samples each.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.matrices import Array

__all__ = ["cosine_graphs", "fiedler_vectors"]

_DENSE = 512  # up to so many samples LAPACK is the faster one
_DEGENERATE = 1e-9  # eigenvalues nearer than this, relative to the largest possible one, count as one


def cosine_graphs(features: Tensor) -> Tensor:
    """Cosine similarities within each batch of samples, negative ones and the diagonal set to 0.

    Args:
        features: (..., B, d) floating point.

    Returns:
        (..., B, B) float32 in [0, 1], symmetric.

    Example:
        >>> cosine_graphs(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])).tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    unit = F.normalize(features.float(), dim=-1)
    similarity = (unit @ unit.transpose(-1, -2)).clamp_(0, 1)
    similarity.diagonal(dim1=-2, dim2=-1).zero_()
    return similarity


def fiedler_vectors(similarity: Tensor) -> Tensor:
    """The Fiedler vector of each graph: the eigenvector of L = D - S with the second smallest eigenvalue.

    Its two signs are the two sides of the graph's best cut. The constant vector, whose eigenvalue is 0, is shifted
    to the other end of the spectrum, so a graph that falls apart is no special case: the vector then tells parts
    from each other. (Adding a weak complete graph, as one may for such a graph, has the same eigenvectors.) Of equal
    eigenvalues the vector is the projection of a unit vector e_i on their space, with the first i that gives the
    longest, which for a simple eigenvalue makes the entry of largest magnitude positive.

    Args:
        similarity: (G, B, B) or (B, B), symmetric, not negative, B at least 2; the diagonal is ignored.

    Returns:
        (G, B) or (B,), of unit length, of the dtype of the similarity; computed in float64. On a CPU by LAPACK
        (exact) for B up to 512, by Lanczos beyond, where of equal eigenvalues only those that it finds count.

    Raises:
        ValueError: If the shape is wrong, or values are negative or not finite.

    Reference:
        Fiedler (1973), Algebraic connectivity of graphs; (1975), A property of eigenvectors of nonnegative symmetric
        matrices and its application to graph theory.

    Example:
        >>> path = torch.diag(torch.ones(3), 1) + torch.diag(torch.ones(3), -1)
        >>> fiedler_vectors(path)
        tensor([ 0.6533,  0.2706, -0.2706, -0.6533])
    """
    if similarity.ndim not in (2, 3) or similarity.shape[-1] != similarity.shape[-2] or similarity.shape[-1] < 2:
        raise ValueError(
            f"`similarity` must be (G, B, B) with at least 2 samples a graph, got {tuple(similarity.shape)}"
        )
    lowest, highest = torch.aminmax(similarity)
    if not (lowest >= 0 and highest < torch.inf):  # NaN is neither
        raise ValueError("`similarity` must be finite and not negative; see `cosine_graphs`")
    # In place from here on: a pass over all graphs costs as much as solving them.
    shifted = similarity.detach().reshape(-1, *similarity.shape[-2:]).to(torch.float64, copy=True).neg_()
    diagonal = shifted.diagonal(dim1=1, dim2=2)
    diagonal.zero_()
    degree = -shifted.sum(2)
    # No eigenvalue is above twice the largest degree.
    bound = 4 * degree.amax(1)
    bound = torch.where(bound > 0, bound, 1.0)
    diagonal += degree
    shifted += (bound / shifted.shape[1])[:, None, None]
    if not shifted.is_cuda and shifted.shape[1] > 2:
        return _lowest_one_by_one(shifted, bound).reshape(similarity.shape[:-1]).to(similarity.dtype)
    values, vectors = torch.linalg.eigh(shifted)
    return _canonical(values, vectors, bound).reshape(similarity.shape[:-1]).to(similarity.dtype)


def _lowest_one_by_one(shifted: Tensor, bound: Tensor) -> Tensor:
    """(G, B): LAPACK's two lowest eigenvectors take half the time of all of them."""
    from scipy.linalg import eigh

    lowest = torch.empty(shifted.shape[:2], dtype=shifted.dtype)
    for i, (matrix, scale) in enumerate(zip(shifted.numpy(), bound.tolist(), strict=True)):
        found = _lowest_by_lanczos(matrix, scale) if len(matrix) > _DENSE else None
        if found is None:
            found = eigh(matrix, subset_by_index=[0, 1], check_finite=False)
        values, vectors = found
        if values[1] - values[0] <= _DEGENERATE * scale:
            values, vectors = eigh(matrix, check_finite=False)
        basis = torch.from_numpy(values)[None], torch.from_numpy(np.ascontiguousarray(vectors))[None]
        lowest[i] = _canonical(*basis, bound[i : i + 1])[0]
    return lowest


def _lowest_by_lanczos(matrix: Array, bound: float) -> tuple[Array, Array] | None:
    """Its two lowest eigenvalues and their vectors, from a fixed start; None if Lanczos doesn't converge."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    # The largest of the negative converge as fast as the lowest, and no inverse is needed.
    operator = LinearOperator(matrix.shape, lambda v: -(matrix @ v) / bound, dtype=matrix.dtype)
    start = np.random.default_rng(0).standard_normal(len(matrix))
    try:
        values, vectors = eigsh(operator, 2, which="LA", v0=start, ncv=40, tol=1e-12, maxiter=100)
    except ArpackNoConvergence:
        return None
    order = np.argsort(-values, kind="stable")
    return -values[order] * bound, vectors[:, order]


def _canonical(values: Tensor, vectors: Tensor, bound: Tensor) -> Tensor:
    """One vector of the lowest eigenvalue's space that doesn't depend on the basis found; (G, B)."""
    same = values - values[:, :1] <= _DEGENERATE * bound[:, None]
    basis = vectors * same[:, None, :]
    size = basis.square().sum(2)
    close = (size >= size.amax(1, keepdim=True) * (1 - 1e-6)).int()
    place = (close * torch.arange(size.shape[1], 0, -1, device=size.device)).argmax(1)
    chosen = basis[torch.arange(len(basis), device=size.device), place]
    return F.normalize((basis @ chosen[:, :, None])[:, :, 0], dim=1)
