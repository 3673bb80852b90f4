"""The nearest neighbours of each sample, exactly or approximately; public as `dynsel.graph`.

Shapes: N samples, d feature dim, k neighbours.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix, blocks, check_matrix, take

__all__ = ["nearest_neighbours"]

_BLOCK_VALUES = 2**22
_LARGE = 20_000  # from here on the approximate search takes less than half the time of the exact one
_CELL, _CELLS = 256, 24  # samples in a cell of the approximate search, on average, and cells looked into
_PLACING = 40  # samples that place each cell; faiss wants 39
_MANY = 2048  # from so many cells on, cells are looked for in the nearest of √cells groups of them
_PLACING_GROUPS, _GROUPS = 2, 8  # groups looked into, for the nearest cell and for the nearest 24


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

    Reference:
        Jégou, Douze, Schmid (2011), Product quantization for nearest neighbor search, section IV (the inverted file
        that the approximate search goes by, without quantized distances).
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
        raise ImportError("the approximate search needs faiss: pip install faiss-cpu, or approximate=False") from error
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
