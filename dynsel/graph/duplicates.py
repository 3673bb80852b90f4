"""Which samples are the same, or nearly, by how near their features are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel._lib.matrices import Matrix
from dynsel.graph.neighbours import nearest_neighbours

__all__ = ["components", "duplicate_groups", "group_codes", "groups_of_neighbours"]

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
    return groups_of_neighbours(*nearest_neighbours(features, min(_NEIGHBOURS, count - 1)), closeness)


def groups_of_neighbours(distances: Tensor, indices: Tensor, closeness: float = 0.2) -> Tensor:
    """The same, of neighbours that are known already.

    Args:
        distances: (N, k) distances to the nearest neighbours, ascending.
        indices: (N, k) int64, which they are.
        closeness: Share of the usual distance, that to the k-th neighbour, up to which two samples are the same.

    Returns:
        (N,) int64 group codes.
    """
    count = len(distances)
    same = (distances <= closeness * distances[:, -1].median()).cpu()
    rows = torch.arange(count)[:, None].expand_as(same)[same]
    return components(rows.numpy(), indices.cpu()[same].numpy(), count)


def group_codes(keys: list[object]) -> Tensor:
    """Groups of samples whose keys, such as hashes, are equal.

    Args:
        keys: One a sample, hashable.

    Returns:
        (N,) int64 group codes 0 .. G-1 in the order of their first samples.
    """
    found: dict[object, int] = {}
    return torch.tensor([found.setdefault(key, len(found)) for key in keys], dtype=torch.int64)


def components(rows: NDArray[np.int64], columns: NDArray[np.int64], count: int) -> Tensor:
    """The connected parts of a graph.

    Args:
        rows: (E,) int64, where each edge begins.
        columns: (E,) int64, where it ends.
        count: Number of nodes, N.

    Returns:
        (N,) int64 codes 0 .. G-1 of the parts, in the order of their first nodes.
    """
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    _, codes = connected_components(graph, directed=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return torch.from_numpy(order[inverse])
