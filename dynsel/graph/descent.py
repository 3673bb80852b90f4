"""Neighbours of features that moved a little, from those before; public as `dynsel.graph`.

Shapes: N samples, d feature dim, k neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.groups import groups
from dynsel._lib.matrices import Matrix, check_matrix, take

__all__ = ["improve_neighbours"]

_CELL, _LARGEST = 256, 2048  # samples in a random cell, on average and at most
_BLOCK_VALUES = 2**20  # candidates' features stay in the processor's cache


def improve_neighbours(features: Matrix, indices: Tensor, seed: int, *, looks: int = 10) -> tuple[Tensor, Tensor]:
    """The k nearest of each sample's former neighbours, some neighbours of these, and those nearest in its cell.

    One round of NN-descent, one way, beside a search inside random cells, others each time: for features that were
    refreshed, where most former neighbours still are ones. Takes time in proportion to N k d, but for the assignment to
    cells, which is N² d / 256. Rounds on features that stay never make it worse.

    Args:
        features: (N, d) floating-point tensor, array or memory map; as float32 it must fit in memory.
        indices: (N, k) int64 former neighbours, none its own and none twice.
        seed: Seed of the draws of neighbours' neighbours and of cells.
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
    beside = _nearest_in_cells(x, k, generator)
    size = max(1, _BLOCK_VALUES // ((2 * k + looks) * x.shape[1]))
    for rows in torch.split(torch.arange(count, device=x.device), size):
        own = indices[rows]
        first, second = torch.randint(k, (2, len(rows), looks), generator=generator).to(x.device)
        looked = indices[own.gather(1, first), second]
        candidates = torch.cat([own, looked, beside[rows]], dim=1).sort(dim=1).values
        apart = (x[candidates.flatten()].view(*candidates.shape, -1) - x[rows, None]).square_().sum(2)
        # Each candidate once, and the sample itself never.
        again = torch.zeros_like(candidates, dtype=torch.bool)
        again[:, 1:] = candidates[:, 1:] == candidates[:, :-1]
        apart.masked_fill_(again | (candidates == rows[:, None]), torch.inf)
        near, place = apart.topk(k, dim=1, largest=False)
        distances[rows], found[rows] = near.sqrt(), candidates.gather(1, place)
    return distances, found


def _nearest_in_cells(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """(N, k) int64: the nearest samples in the same cell of a random partition; itself where the cell is too small."""
    count = len(x)
    found = torch.arange(count, device=x.device)[:, None].repeat(1, k)
    centres = x[torch.randperm(count, generator=generator)[: max(1, count // _CELL)].to(x.device)]
    squares, cell = centres.square().sum(1), torch.empty(count, dtype=torch.int64, device=x.device)
    for rows in torch.split(torch.arange(count, device=x.device), max(1, 4 * _BLOCK_VALUES // len(centres))):
        cell[rows] = torch.addmm(squares, x[rows], centres.T, alpha=-2).argmin(1)
    for cell_members in groups(cell):
        for members in torch.split(cell_members, _LARGEST):
            if len(members) > k:
                rows = x[members]
                apart = torch.addmm(rows.square().sum(1), rows, rows.T, alpha=-2)
                apart.fill_diagonal_(torch.inf)
                found[members] = members[apart.topk(k, dim=1, largest=False).indices]
    return found
