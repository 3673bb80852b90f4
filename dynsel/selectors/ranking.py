"""Pure functions that several methods are made of: ranks, moving averages, rotation, budgets of classes.

Shapes: N samples, B of them in a piece of feedback, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import largest_remainder

__all__ = [
    "check_clip",
    "check_smoothing",
    "class_budgets",
    "loss_rank",
    "put_first",
    "rank_within_class",
    "rotation_scores",
    "update_average",
]


def check_smoothing(smoothing: float) -> float:
    """`smoothing` as a plain float.

    Args:
        smoothing: Share of the old average that each new number leaves.

    Raises:
        TypeError: If it is no number.
        ValueError: Unless it is in [0, 1).
    """
    return check_number("smoothing", smoothing, at_least=0, below=1, why="0 takes the last loss alone")


def check_clip(clip: float) -> float:
    """`clip` as a plain float.

    Args:
        clip: Share of the samples, those of the highest averages, that rank lowest.

    Raises:
        TypeError: If it is no number.
        ValueError: Unless it is in [0, 1).
    """
    return check_number("clip", clip, at_least=0, below=1, why="it is a share of the samples, 0 clips none")


def rotation_scores(usage: Tensor, generator: torch.Generator) -> Tensor:
    """Scores whose top k are the k least used samples, ties broken at random.

    Args:
        usage: (N,) int32, uses of each sample so far.
        generator: Source of the ties' order.

    Returns:
        (N,) float32.
    """
    # Relative to the least used, the counts stay small and the draw keeps its full float32 resolution.
    noise = torch.rand(len(usage), generator=generator)
    counts = usage.numpy()
    np.subtract(noise.numpy(), counts - counts.min(), out=noise.numpy(), casting="same_kind")
    return noise


def put_first(scores: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], generator: torch.Generator) -> None:
    """Raise some scores above all others, in random order among themselves, in place.

    Args:
        scores: (N,) floating point, finite.
        rows: Positions in 0 .. N-1; none is fine.
        generator: Source of their random order.
    """
    if len(rows):
        scores[rows] = scores.max() + 1 + torch.rand(len(rows), generator=generator).numpy()


def update_average(average: Tensor, indices: Tensor, loss: Tensor, smoothing: float) -> Tensor:
    """Take new losses into each sample's exponential moving average, in place.

    The first loss of a sample is its average; later ones make it smoothing * average + (1 - smoothing) * loss. Losses
    that are not finite are passed over. A sample that occurs several times counts once, with the mean of its
    losses, so that their order doesn't matter.

    Args:
        average: (N,) float32 on the CPU; NaN = no loss known.
        indices: (B,) integer positions in 0 .. N-1.
        loss: (B,) float, new losses of these samples.
        smoothing: Share of the old average that each new loss leaves, in [0, 1).

    Returns:
        `average`.

    Example:
        >>> average = torch.tensor([1.0, 1.0, torch.nan])
        >>> update_average(average, torch.tensor([0, 2, 1]), torch.tensor([3.0, 5.0, torch.nan]), 0.5).tolist()
        [2.0, 1.0, 5.0]
    """
    # What float32 can't hold becomes infinite here, and is passed over.
    values = loss.detach().float().cpu().numpy()
    good = np.isfinite(values)
    which, occurrence, counts = np.unique(indices.cpu().numpy()[good], return_inverse=True, return_counts=True)
    new = np.bincount(occurrence, weights=values[good], minlength=len(which)) / counts
    averages = average.numpy()
    old = averages[which].astype(np.float64)
    averages[which] = np.where(np.isnan(old), new, smoothing * old + (1 - smoothing) * new)
    return average


def loss_rank(average: Tensor, clip: float = 0.0) -> Tensor:
    """Rank of each sample's average loss among the known ones, scaled to (0, 1); equal losses share their mean rank.

    Args:
        average: (N,) float on the CPU; NaN = no loss known.
        clip: Share of the known samples, those of highest loss, that rank lowest instead, the highest loss last;
            in [0, 1).

    Returns:
        (N,) float32: (place + 0.5) / n for place 0 .. n-1 among the n known ones, and 1 for the unknown.

    Example:
        >>> loss_rank(torch.tensor([0.1, torch.nan, 0.4, 0.2, 0.3])).tolist()
        [0.125, 1.0, 0.875, 0.375, 0.625]
        >>> loss_rank(torch.tensor([0.1, torch.nan, 0.4, 0.2, 0.3]), clip=0.25).tolist()
        [0.375, 1.0, 0.125, 0.625, 0.875]
    """
    values = average.numpy()
    known = np.flatnonzero(~np.isnan(values))
    n = len(known)
    ranks = np.ones(len(values), dtype=np.float32)
    if n:
        # Shared ranks need no stable sort, which takes four times as long.
        order = np.argsort(values[known])
        ordered = values[known[order]]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        counts = np.diff(starts, append=n)
        place = np.repeat(starts + (counts - 1) / 2, counts)
        clipped = int(clip * n + 0.5)
        place = np.where(place > n - 1 - clipped, n - 1 - place, place + clipped)
        ranks[known[order]] = (place + 0.5) / n
    return torch.from_numpy(ranks)


def rank_within_class(values: Tensor, labels: Tensor | None = None) -> Tensor:
    """Rank of each value within its class, scaled to [0, 1]; ties to the lower position; 0.5 in a class of one.

    Args:
        values: (N,) float, to be ranked.
        labels: (N,) class codes 0 .. C-1; None ranks all samples together.

    Returns:
        (N,) float32.
    """
    order = torch.argsort(values, stable=True)
    group = torch.zeros(len(values), dtype=torch.int64) if labels is None else labels.long()
    order = order[torch.argsort(group[order], stable=True)]
    sizes = torch.bincount(group)
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty(len(values))
    sorted_group = group[order]
    place = torch.arange(len(values)) - starts[sorted_group]
    ranks[order] = torch.where(sizes[sorted_group] > 1, place / (sizes[sorted_group] - 1).clamp_min(1), 0.5).float()
    return ranks


def class_budgets(shares: Tensor, sizes: Tensor, total: int) -> Tensor:
    """Whole-numbered budgets in proportion to `shares`, none above the size of its class, that sum to exactly `total`.

    Water-filling: budget_c = min(size_c, λ share_c) with the λ at which they sum to `total`; what isn't a whole number
    is rounded by `largest_remainder`.

    Args:
        shares: (C,) float, above 0 where the class has samples.
        sizes: (C,) integer, number of samples of each class.
        total: 0 .. the sum of the sizes.

    Returns:
        (C,) int64.

    Raises:
        ValueError: If `total` is out of range, or a class with samples has no share.

    Example:
        >>> class_budgets(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([10, 100, 100]), 130).tolist()
        [10, 40, 80]
    """
    available = int(sizes.sum())
    if not 0 <= total <= available:
        raise ValueError(f"`total` must be between 0 and the number of samples, {available}, got {total}")
    share, size = shares.double().numpy(), sizes.numpy()
    filled = size > 0
    if not (np.isfinite(share[filled]) & (share[filled] > 0)).all():
        raise ValueError(f"`shares` must be above 0 and finite for every class with samples, got {share[:8].tolist()}")
    budgets = np.zeros(len(size), dtype=np.int64)
    # The classes in the order in which they fill up as λ rises.
    order = np.flatnonzero(filled)[np.argsort(size[filled] / share[filled], kind="stable")]
    left = total - (np.cumsum(size[order]) - size[order])
    to_share = np.cumsum(share[order][::-1])[::-1]
    full = int(np.argmin(np.append(left * share[order] >= size[order] * to_share, False)))
    budgets[order[:full]] = size[order[:full]]
    if full < len(order):
        # In the order of the classes, so that ties go to the lower one.
        rest = np.sort(order[full:])
        budgets[rest] = largest_remainder(torch.from_numpy(share[rest]), int(left[full])).numpy()
    return torch.from_numpy(budgets)
