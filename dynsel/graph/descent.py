"""Neighbours of features that moved a little, from those before; public as `dynsel.graph`.

Shapes: N samples, d feature dim, k neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix, check_matrix, take

__all__ = ["improve_neighbours"]

_BLOCK_VALUES = 2**20  # candidates' features stay in the processor's cache


def improve_neighbours(features: Matrix, indices: Tensor, seed: int, *, looks: int = 10) -> tuple[Tensor, Tensor]:
    """The k nearest of each sample's former neighbours and of some neighbours of these.

    One round of NN-descent, one way: for features that were refreshed, where most former neighbours still are ones, and
    what is new among them is a neighbour's neighbour. Takes time in proportion to N k d. Rounds on features that stay
    never make it worse.

    Args:
        features: (N, d) floating-point tensor, array or memory map; as float32 it must fit in memory.
        indices: (N, k) int64 former neighbours, none its own and none twice.
        seed: Seed of the draw of neighbours' neighbours.
        looks: Number of these, for each sample.

    Returns:
        (N, k) float32 distances, ascending, and (N, k) int64 indices, on the device of the features.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, or features aren't finite.

    Reference:
        Dong, Moses, Li (2011), Efficient k-nearest neighbor graph construction for generic similarity measures.
    """
    check_matrix(features)
    count, k = len(features), indices.shape[1]
    if indices.shape[0] != count:
        raise ValueError(f"`indices` must be ({count}, k), one row per sample, got {tuple(indices.shape)}")
    x = take(features, slice(0, count))
    indices, generator = indices.to(x.device), torch.Generator().manual_seed(seed)
    distances, found = torch.empty(count, k, device=x.device), torch.empty_like(indices)
    size = max(1, _BLOCK_VALUES // ((k + looks) * x.shape[1]))
    for rows in torch.split(torch.arange(count, device=x.device), size):
        own = indices[rows]
        first, second = torch.randint(k, (2, len(rows), looks), generator=generator).to(x.device)
        candidates = torch.cat([own, indices[own.gather(1, first), second]], dim=1).sort(dim=1).values
        apart = (x[candidates.flatten()].view(*candidates.shape, -1) - x[rows, None]).square_().sum(2)
        # Each candidate once, and the sample itself never.
        again = torch.zeros_like(candidates, dtype=torch.bool)
        again[:, 1:] = candidates[:, 1:] == candidates[:, :-1]
        apart.masked_fill_(again | (candidates == rows[:, None]), torch.inf)
        near, place = apart.topk(k, dim=1, largest=False)
        distances[rows], found[rows] = near.sqrt(), candidates.gather(1, place)
    return distances, found
