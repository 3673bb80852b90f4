"""Which samples are the same, or nearly, by how near their features are."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel._lib.matrices import Matrix
from dynsel.graph.neighbours import nearest_neighbours

__all__ = ["duplicate_groups", "group_codes"]

_NEIGHBOURS = 10


def duplicate_groups(features: Matrix, closeness: float = 0.2) -> Tensor:
    """Groups of samples that are nearly the same: nearer to each other than is usual by far.

    What is usual is the median, over the samples, of the distance to the tenth neighbour. Two samples are the same if
    their distance is at most `closeness` times that; so are, in turn, those that are the same as either.

    Args:
        features: (N, d) floating-point tensor, array or memory map; of equal inputs equal rows.
        closeness: Share of the usual distance up to which two samples are the same, in [0, 1); 0 = equal rows only.

    Returns:
        (N,) int64 group codes 0 .. G-1 in the order of their first samples; a sample like no other is a group of one.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If they aren't 2-D and finite, or `closeness` is out of range.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [5.0, 1.0], [0.0, 0.01], [9.0, 9.0], [5.0, 1.0]])
        >>> duplicate_groups(rows).tolist()
        [0, 1, 0, 2, 1]
    """
    why = "it is a share of the usual distance between neighbours"
    closeness = check_number("closeness", closeness, at_least=0, below=1, why=why)
    count = len(features)
    if count < 2:
        return torch.arange(count)
    distances, indices = nearest_neighbours(features, min(_NEIGHBOURS, count - 1))
    same = (distances <= closeness * distances[:, -1].median()).cpu()
    rows = torch.arange(count)[:, None].expand_as(same)[same]
    return _components(rows.numpy(), indices.cpu()[same].numpy(), count)


def group_codes(keys: list[object]) -> Tensor:
    """Groups of samples whose keys, such as hashes, are equal.

    Args:
        keys: One a sample, hashable.

    Returns:
        (N,) int64 group codes 0 .. G-1 in the order of their first samples.
    """
    found: dict[object, int] = {}
    return torch.tensor([found.setdefault(key, len(found)) for key in keys], dtype=torch.int64)


def _components(rows: np.ndarray, columns: np.ndarray, count: int) -> Tensor:
    """(N,) int64 components of the graph of these edges, in the order of their first samples."""
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    _, codes = connected_components(graph, directed=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return torch.from_numpy(order[inverse])
