"""The fuzzy neighbour graph of UMAP at several scales, and how it is made connected; public as `dynsel.graph`.

Sparse graphs are scipy's, symmetric with weights in (0, 1] and nothing on the diagonal. Shapes: N samples, K
neighbours found, k neighbours at one scale, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.matrices import Array, Matrix, Sparse, blocks, check_matrix, take

__all__ = ["connect", "fuzzy_graph"]

_BLOCK_VALUES = 2**26  # distances in a block while parts are joined
_PAIRS = 2**32  # distances that joining parts may take, a minute on a CPU
_CACHED = 2**12  # samples whose distances the processor's cache holds


def fuzzy_graph(distances: Tensor, indices: Tensor, scales: Sequence[int] = (5, 15, 30)) -> Sparse:
    """How certainly each two samples are neighbours, at several scales, as a symmetric sparse graph.

    At scale k, sample i is linked to its k nearest others with weight exp(-max(0, d_ij - ρ_i) / σ_i), where ρ_i is
    its distance to the nearest one that is no duplicate and σ_i makes the weights sum to log2(k + 1). Here k doesn't
    count the sample itself; UMAP's `n_neighbors` does, so it is k + 1 and both are the same graph. The directions,
    and then the scales, are joined by the fuzzy union a + b - ab.

    Args:
        distances: (N, K) as of `nearest_neighbours`, ascending.
        indices: (N, K) integer neighbours, none its own.
        scales: Numbers of neighbours, each 1 .. K; one search with the largest serves all.

    Returns:
        (N, N) scipy CSR array, float32 in (0, 1], symmetric.

    Raises:
        ValueError: If shapes don't match, or a scale is out of range.

    Reference:
        McInnes, Healy, Melville (2018), UMAP, arXiv:1802.03426; FAST (2025), arXiv:2511.19476, eq. 1 (several scales).
    """
    from scipy.sparse import csr_array

    if distances.ndim != 2 or distances.shape != indices.shape:
        raise ValueError(
            f"`distances` and `indices` must be (N, K) alike, got {tuple(distances.shape)} and {tuple(indices.shape)}"
        )
    count, width = distances.shape
    if not scales or not all(1 <= k <= width for k in scales):
        raise ValueError(
            f"`scales` must be between 1 and the number of neighbours found, {width}, got {list(scales)}; "
            "search for as many as the largest scale"
        )
    near = distances.detach().cpu()
    weights = np.empty((count, width), dtype=np.float32)

    def weigh(rows: slice) -> None:
        block = near[rows].double().numpy()
        apart = np.ones_like(block)  # 1 - weight of the union so far
        for k in scales:
            apart[:, :k] *= 1 - _memberships(block[:, :k])
        weights[rows] = 1 - apart

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(weigh, blocks(near, _CACHED)))
    # scipy keeps the ends' integers; of 32 bits they are half the traffic, and it widens them where they don't suffice.
    small = np.int32 if count < 2**31 else np.int64
    ends = np.repeat(np.arange(count, dtype=small), width), indices.cpu().numpy().astype(small).ravel()
    directed = csr_array((weights.ravel(), ends), shape=(count, count))
    # The union is associative: directions may be joined after the scales.
    graph = _union(directed, directed.T.tocsr())
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _union(a: Sparse, b: Sparse) -> Sparse:
    return (a + b - a * b).tocsr()


def _memberships(near: Array) -> Array:
    """Weights of the directed edges at one scale, (R, k), from the float64 distances of R samples."""
    k = near.shape[1]
    positive = np.where(near > 0, near, np.inf).min(1)
    rho = np.where(np.isfinite(positive), positive, 0.0)
    beyond = np.maximum(near - rho[:, None], 0)
    sigma = _bandwidths(beyond, np.log2(k + 1))
    # UMAP's lower bound, of a mean that counts the sample itself. The other one it has, for samples that have nothing
    # but duplicates, decides nothing: these count fully.
    sigma = np.maximum(sigma, 1e-3 * near.sum(1) / (k + 1))[:, None]
    scaled = np.divide(beyond, sigma, out=np.zeros_like(beyond), where=sigma > 0)
    weights: Array = np.exp(-scaled)
    return weights


def _bandwidths(beyond: Array, target: float) -> Array:
    """σ with Σ_j exp(-beyond_ij / σ_i) = target: UMAP's bisection, of all rows at once."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), np.inf)
    sigma, left = np.ones(len(beyond)), np.arange(len(beyond))
    for _ in range(64):
        total = np.exp(-beyond[left] / sigma[left, None]).sum(1)
        left, total = left[wrong := np.abs(total - target) >= 1e-5], total[wrong]
        if not len(left):
            break
        above, below = left[total > target], left[total <= target]
        high[above], low[below] = sigma[above], sigma[below]
        sigma[left] = np.where(np.isinf(high[left]), 2 * sigma[left], (low[left] + high[left]) / 2)
    return sigma


def connect(graph: Sparse, features: Matrix, floor: float = 0.1) -> tuple[Sparse, int]:
    """Make a graph connected: join its parts where they are nearest, and strengthen its spanning tree.

    Parts are joined by the nearest pairs between them, each part with its nearest neighbour, until one part is left.
    These are the true ones up to 65,536 samples; beyond, where that would take more than 2^32 distances, those of as
    many samples of each part as they suffice for. The edges of the maximum-weight spanning tree, such pairs among
    them, are then joined by the fuzzy union with an edge of weight `floor`, so that no part hangs on a vanishing
    weight.

    Args:
        graph: (N, N) scipy sparse, symmetric, weights in (0, 1].
        features: (N, d) floating-point tensor, array or memory map, in which distances between parts are measured.
        floor: Weight of a new edge, in (0, 1].

    Returns:
        (N, N) CSR array, float32 in (0, 1], connected, and the number of parts that the graph had: 1 if it was
        connected.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If the graph is of another size, or `floor` out of range.

    Reference:
        FAST (2025), arXiv:2511.19476, after eq. 1: the fuzzy union with the spanning tree. That connects no parts; how
        they are joined is ours.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    check_matrix(features)
    if graph.shape != (len(features), len(features)):
        raise ValueError(f"`graph` must be {(len(features), len(features))} for these features, got {graph.shape}")
    if not 0 < floor <= 1:
        raise ValueError(f"`floor` must be in (0, 1], got {floor}")
    graph = csr_array(graph, dtype=np.float32)
    # A tree of each part tells the number of parts by its edges.
    forest = minimum_spanning_tree(_lengths(graph))
    parts = len(features) - forest.nnz
    while forest.nnz < len(features) - 1:
        _, part = connected_components(forest, directed=False)
        bridges = _edges(_nearest_pairs(features, part), len(features), floor)
        forest = minimum_spanning_tree(forest + _lengths(bridges))
    return _union(graph, _edges(np.stack(forest.nonzero()), len(features), floor)), parts


def _lengths(graph: Sparse) -> Sparse:
    """The shorter the greater the weight, of each edge in one direction: scipy goes by either."""
    from scipy.sparse import csr_array, triu

    lengths = csr_array(triu(graph))
    # scipy takes a length of 0 for no edge; one more a step makes the same tree.
    lengths.data = 1 - np.log(np.clip(lengths.data, 1e-30, 1))
    return lengths


def _edges(ends: Array, count: int, weight: float) -> Sparse:
    """Both directions of these edges, (2, E), each once."""
    from scipy.sparse import csr_array

    row, column = ends
    both = np.concatenate([row, column]), np.concatenate([column, row])
    edges = csr_array((np.ones(len(both[0]), dtype=np.float32), both), shape=(count, count))  # sums up repeated ones
    edges.data[:] = weight
    return edges


def _nearest_pairs(features: Matrix, part: Array) -> Array:
    """(2, E) ends of the shortest edge out of each part but the largest, which others reach anyway."""
    x = take(features, slice(0, len(features)))
    label = torch.from_numpy(part).long().to(x.device)
    rows = _thinned((label != label.bincount().argmax()).nonzero()[:, 0], label, _PAIRS // len(x))
    near, other = torch.empty(len(rows), device=x.device), torch.empty_like(rows)
    for at in blocks(rows[:, None], max(1, _BLOCK_VALUES // len(x))):
        apart = torch.cdist(x[rows[at]], x)
        apart.masked_fill_(label[rows[at], None] == label, torch.inf)
        near[at], other[at] = apart.min(1)
    # By part and then by distance: the first of each part is its shortest edge.
    order = near.argsort(stable=True)
    order = order[label[rows[order]].argsort(stable=True)].cpu()
    _, first = np.unique(label[rows].cpu()[order].numpy(), return_index=True)
    chosen = order[torch.from_numpy(first)].to(rows.device)
    return torch.stack([rows[chosen], other[chosen]]).cpu().numpy()


def _thinned(rows: Tensor, label: Tensor, count: int) -> Tensor:
    """About `count` of the rows, drawn, of each part alike and at least one; all of them if they are no more."""
    if len(rows) <= count:
        return rows
    drawn = rows.cpu()[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))].to(rows.device)
    drawn = drawn[label[drawn].argsort(stable=True)]
    _, size = torch.unique_consecutive(label[drawn], return_counts=True)
    place = torch.arange(len(drawn), device=rows.device) - (size.cumsum(0) - size).repeat_interleave(size)
    return drawn[place < max(1, count // len(size))]
