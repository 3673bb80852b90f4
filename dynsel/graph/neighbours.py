"""Neighbour graphs of the features and their spectra: kNN, fuzzy graph, Laplacian, embedding, Fiedler vectors.

The usual chain is `nearest_neighbours` → `fuzzy_graph` → `connect` → `spectral_embedding`. Sparse graphs are scipy's,
symmetric with weights in (0, 1] and nothing on the diagonal.

Shapes: N samples, d feature dim, k neighbours, G small graphs of B samples each.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dynsel._lib.matrices import Matrix, blocks, check_matrix, take

__all__ = [
    "connect",
    "cosine_graphs",
    "fiedler_vectors",
    "fuzzy_graph",
    "laplacian",
    "nearest_neighbours",
    "spectral_embedding",
]

Sparse: TypeAlias = Any  # scipy's sparse arrays have no types
Array: TypeAlias = NDArray[Any]

_BLOCK_VALUES = 2**22
_PAIRS = 2**32  # distances that joining parts may take, a minute on a CPU
_LARGE = 20_000  # from here on the approximate search takes less than half the time of the exact one
_CELL, _CELLS = 256, 24  # samples in a cell of the approximate search, on average, and cells looked into
_PLACING = 40  # samples that place each cell; faiss wants 39
_MANY = 2048  # from so many cells on, cells are looked for in the nearest of √cells groups of them
_PLACING_GROUPS, _GROUPS = 2, 8  # groups looked into, for the nearest cell and for the nearest 24
_CACHED = 2**12  # samples whose distances the processor's cache holds
_DENSE = 512  # below so many nodes a dense eigensolver is the faster one
_DEGENERATE = 1e-9  # eigenvalues nearer than this, relative to the largest possible one, count as one


# ---------------------------------------------------------------- neighbours
def nearest_neighbours(features: Matrix, k: int, *, approximate: bool | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest other samples of each sample by Euclidean distance.

    A sample is never its own neighbour, but a duplicate of it is one, at distance 0. Equally near samples come in
    the order of their indices. The exact search compares all pairs: on a CPU by scikit-learn, whose fused kernel keeps
    no block of distances, on a GPU by blocked torch. The approximate one, by faiss through torch-geometric, looks
    into the 24 nearest of N / 256 cells of the space, so that its time grows little faster than N; how many neighbours
    it finds depends on the data (of a million samples on a surface of 12 dimensions 97 %).

    Args:
        features: (N, d) floating-point tensor, array or memory map; as float32 it must fit in memory.
        k: Number of neighbours, 1 .. N - 1.
        approximate: Whether neighbours may be missed. None: on a CPU from 20,000 samples on, if faiss is installed.

    Returns:
        (N, k) float32 distances, ascending, and (N, k) int64 indices, on the device of the features.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If they aren't 2-D and finite, or `k` is out of range.
        ImportError: If `approximate` is True and faiss isn't installed.
    """
    check_matrix(features)
    count = len(features)
    if not 1 <= k < count:
        raise ValueError(f"`k` must be between 1 and N - 1 = {count - 1}, got {k}; a sample is no neighbour of its own")
    x = take(features, slice(0, count))
    # One more than wanted shows whether a tie is cut through; a few more make up for float32 products.
    width = min(count, k + (8 if x.is_cuda else 2))
    if approximate is None:
        approximate = count >= _LARGE and not x.is_cuda and find_spec("faiss") is not None
    centred = x - x.mean(0)
    measured, found = _near_candidates(centred, width) if approximate else (None, _candidates(centred, width))
    distances, indices = torch.empty(count, k, device=x.device), torch.empty_like(found[:, :k])
    again = (found < 0).any(1)
    for rows in blocks(found, max(1, _BLOCK_VALUES // (found.shape[1] * x.shape[1]))):
        # Products only find them: they are too coarse to rank by.
        near = (x[found[rows]] - x[rows, None]).norm(dim=2) if measured is None else measured[rows]
        near, order = _sorted(near, found[rows], rows)
        distances[rows], indices[rows] = near[:, :k], order[:, :k]
        if found.shape[1] < count and not approximate:
            again[rows] = near[:, k - 1] == near[:, k]
    left = again.nonzero()[:, 0]
    for part in torch.split(left, max(1, _BLOCK_VALUES // count)):
        # Without matrix products, so that equal distances come out equal.
        all_ = torch.cdist(x[part], x, compute_mode="donot_use_mm_for_euclid_dist")
        all_[torch.arange(len(part), device=x.device), part] = torch.inf
        near, order = all_.sort(dim=1, stable=True)
        distances[part], indices[part] = near[:, :k], order[:, :k]
    return distances, indices


def _candidates(x: Tensor, count: int) -> Tensor:
    """(N, count) int64: the nearest rows of each row, itself among them, up to rounding."""
    if x.is_cuda:
        return _search_by_products(x, count)
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(x.numpy())
    return torch.from_numpy(search.kneighbors(x.numpy(), return_distance=False).astype(np.int64))


def _near_candidates(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, count) distances and rows, in time about N. Some are missed; -1 where the cells looked into hold too few."""
    try:
        import faiss  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "the approximate search needs faiss: pip install dynsel[graph], or approximate=False"
        ) from error
    from torch_geometric.nn.pool import KNNIndex

    rows = x.cpu()
    cells = max(1, len(rows) // _CELL)
    groups = f"(IVF{round(cells**0.5)},Flat)" if cells >= _MANY else ""
    index = KNNIndex(f"IVF{cells}{groups},Flat")
    ivf: Any = faiss.index_factory(rows.shape[1], index.index_factory)
    index.index = ivf
    quantizer: Any = faiss.downcast_index(ivf.quantizer)
    # Cells are placed by a part of the rows and roughly: without groups this grows as N², as their number does.
    ivf.cp.niter = 5
    if groups:
        quantizer.nprobe = _PLACING_GROUPS
        ivf.quantizer_trains_alone = 0  # placing goes by the groups too
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: _PLACING * cells]
    ivf.train(rows[drawn].numpy())
    index.add(rows)
    ivf.nprobe = min(cells, _CELLS)
    if groups:
        quantizer.nprobe = _GROUPS
    # One cell's rows after the other: they look into the same cells, which then are still in the processor's cache.
    lists, sizes = ivf.invlists, map(ivf.invlists.list_size, range(cells))
    order = [faiss.rev_swig_ptr(lists.get_ids(c), size).copy() for c, size in enumerate(sizes) if size]
    at = torch.from_numpy(np.concatenate(order))
    squares, found = torch.zeros(len(rows), count), torch.full((len(rows), count), -1)
    squares[at], found[at] = index.search(rows[at], count)
    return squares.sqrt_().to(x.device), found.to(x.device)


def _search_by_products(x: Tensor, count: int) -> Tensor:
    squares = x.square().sum(1)
    near = [
        torch.addmm(squares, x[rows], x.T, alpha=-2).topk(count, largest=False).indices
        for rows in blocks(x, max(1, 16 * _BLOCK_VALUES // len(x)))
    ]
    return torch.cat(near)


def _sorted(near: Tensor, found: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Candidates of these rows, nearest first, equally near ones by index, themselves last."""
    found, order = found.sort(dim=1)
    own = torch.arange(rows.start, rows.stop, device=found.device)[:, None]
    # Where it is not among them, all of them are its duplicates, and the tie shows.
    near, order = near.gather(1, order).masked_fill(found == own, torch.inf).sort(dim=1, stable=True)
    return near, found.gather(1, order)


# ---------------------------------------------------------------- the fuzzy graph
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


# ---------------------------------------------------------------- connectivity
def connect(graph: Sparse, features: Matrix, floor: float = 0.1) -> tuple[Sparse, int]:
    """Make a graph connected: join its parts where they are nearest, and strengthen its spanning tree.

    Parts are joined by the nearest pairs between them, each part with its nearest neighbour, until one part is left.
    These are the true ones up to 65,536 samples; beyond, where that would take more than 2^32 distances, those of as
    many samples of each part as they suffice for. The edges of the maximum-weight spanning tree, such pairs among
    them, are then joined by the fuzzy union with an edge of weight `floor`, so that no part hangs on a vanishing
    weight.

    Args:
        graph: (N, N) scipy sparse, symmetric, weights in (0, 1].
        features: (N, d) floating point.
        floor: Weight of a new edge, in (0, 1].

    Returns:
        (N, N) CSR array, connected, and the number of parts that the graph had: 1 if it was connected.
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
    for at in blocks(rows[:, None], max(1, 16 * _BLOCK_VALUES // len(x))):
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


# ---------------------------------------------------------------- spectra
def laplacian(graph: Sparse, normalisation: Literal["none", "sym", "rw"] = "sym") -> Tensor:
    """The Laplacian of a graph, by `torch_geometric.utils.get_laplacian`.

    Args:
        graph: (N, N) scipy sparse or torch sparse tensor, symmetric; its diagonal is ignored.
        normalisation: "sym" for I - D^-½ W D^-½, "rw" for I - D^-1 W, "none" for D - W, where D holds the sums of
            the rows of W. A node without edges has 1 on the diagonal of the first two.

    Returns:
        (N, N) sparse COO tensor, coalesced, of the graph's precision.
    """
    from torch_geometric.utils import get_laplacian

    if normalisation not in ("none", "sym", "rw"):
        raise ValueError(f"`normalisation` must be 'none', 'sym' or 'rw', got {normalisation!r}")
    if isinstance(graph, Tensor):
        coo = graph.to_sparse().coalesce()
        ends, weights = coo.indices(), coo.values()
    else:
        coo = graph.tocoo()
        ends = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        weights = torch.from_numpy(np.asarray(coo.data))
    if not bool((weights >= 0).all()):
        raise ValueError("`graph` must have no negative or NaN weights")
    kind = None if normalisation == "none" else normalisation
    ends, weights = get_laplacian(ends, weights, kind, num_nodes=graph.shape[0])
    return torch.sparse_coo_tensor(ends, weights, graph.shape, check_invariants=False).coalesce()


def spectral_embedding(graph: Sparse, dim: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Coordinates that vary as slowly as possible over the graph: eigenvectors of its normalised Laplacian.

    Those of the `dim` smallest eigenvalues that aren't zero, ascending. The null space, one vector for each connected
    part, is known and projected out. Each column has variance 1 and its entry of largest magnitude is positive.

    Args:
        graph: (N, N) scipy sparse, symmetric, not negative.
        dim: Number of columns, 1 .. N - 2 and at most N minus the number of parts.
        seed: Of the start vector; the result depends on it by rounding only, except for equal eigenvalues.
        device: "cpu" for Lanczos (dense below 512 nodes), a GPU for LOBPCG, which needs a connected graph (`connect`).

    Returns:
        (N, dim) float32, on the CPU.

    Raises:
        ValueError: If `dim` is out of range.
        RuntimeError: If the eigensolver doesn't converge.
    """
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.csgraph import connected_components

    count = graph.shape[0]
    if not 1 <= dim <= count - 2:
        raise ValueError(f"`dim` must be between 1 and N - 2 = {count - 2}, got {dim}; lower it or take more samples")
    graph = csr_array(graph, dtype=np.float64)
    graph.setdiag(0)
    parts, part = connected_components(graph, directed=False)
    if dim > count - parts:
        raise ValueError(
            f"`dim` must be at most N minus the number of parts, {count} - {parts}, got {dim}; `connect` the graph"
        )
    coo = laplacian(graph)
    (row, column), values = coo.indices().numpy(), coo.values().numpy()
    adjacency = eye_array(count, format="csr") - csr_array((values, (row, column)), shape=graph.shape)
    null = np.sqrt(np.asarray(graph.sum(1)).ravel())
    null[null == 0] = 1  # a part of one node
    null /= np.sqrt(np.bincount(part, weights=null**2))[part]
    if torch.device(device).type == "cpu" or count <= _DENSE or 4 * dim > count:
        vectors = _largest(adjacency, csr_array((null, (np.arange(count), part)), shape=(count, parts)), dim, seed)
    else:
        vectors = _largest_by_lobpcg(adjacency, null, parts, dim, seed, torch.device(device))
    columns = torch.from_numpy(np.ascontiguousarray(vectors))
    columns = columns / columns.std(0, correction=0)
    return (columns * _signs(columns.T)).float()


def _largest(adjacency: Sparse, null: Sparse, dim: int, seed: int) -> Array:
    """Eigenvectors of the largest eigenvalues besides the null space of the Laplacian, (N, dim), descending."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    count = adjacency.shape[0]
    if count <= _DENSE or 4 * dim > count:
        # The null space's eigenvalues go from 1, the largest, to -1, below which there is none.
        dense = adjacency.toarray() - 2 * (null @ null.T).toarray()
        vectors: Array = eigh(dense, subset_by_index=[count - dim, count - 1])[1]
        return vectors[:, ::-1]
    across = null.T.tocsr()
    operator = LinearOperator(
        adjacency.shape, lambda v: adjacency @ v - 2 * (null @ (across @ v)), dtype=adjacency.dtype
    )
    start = np.random.default_rng(seed).standard_normal(count)
    try:
        values, vectors = eigsh(operator, dim, which="LA", v0=start, ncv=min(count, 4 * dim + 20), tol=1e-6)
    except ArpackNoConvergence as error:
        raise RuntimeError(f"the eigenvectors of the graph didn't converge: {error}; `connect` it first") from error
    return vectors[:, np.argsort(-values, kind="stable")]


def _largest_by_lobpcg(adjacency: Sparse, null: Array, parts: int, dim: int, seed: int, device: torch.device) -> Array:
    """The same by torch, for a GPU."""
    if parts > 1:
        raise ValueError(f"`graph` must be connected on a GPU, got {parts} parts; `connect` it or take device='cpu'")
    coo = adjacency.tocoo()
    ends = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    a = torch.sparse_coo_tensor(ends, torch.from_numpy(coo.data), coo.shape, check_invariants=False).coalesce()
    # A block wider than what is wanted converges by the gap after its end.
    start = torch.from_numpy(np.random.default_rng(seed).standard_normal((len(null), min(2 * dim, len(null) // 3))))
    start[:, 0] = torch.from_numpy(null)  # of the largest eigenvalue, which is not wanted
    _, vectors = torch.lobpcg(a.to(device), X=start.to(device), largest=True, niter=500, tol=1e-6)
    found: Array = vectors[:, 1 : dim + 1].cpu().numpy()
    return found


def _signs(rows: Tensor) -> Tensor:
    """The sign of the entry of largest magnitude of each row, of nearly equal ones the first; (...)."""
    size = rows.abs()
    # argmax of bool isn't promised to be the first on all devices; of integers that differ it is.
    first = (size >= size.amax(-1, keepdim=True) * (1 - 1e-6)).int()
    place = (first * torch.arange(rows.shape[-1], 0, -1, device=rows.device)).argmax(-1, keepdim=True)
    return torch.where(rows.gather(-1, place)[..., 0] < 0, -1.0, 1.0).to(rows)


# ---------------------------------------------------------------- many small graphs
def cosine_graphs(features: Tensor) -> Tensor:
    """Cosine similarities within each batch of samples, negative ones and the diagonal set to 0.

    Args:
        features: (..., B, d) floating point.

    Returns:
        (..., B, B) float32 in [0, 1], symmetric.
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
        Fiedler (1973), Algebraic connectivity of graphs.

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
