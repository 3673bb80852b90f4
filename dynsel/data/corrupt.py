"""Harder data to compare methods on: wrong labels, and classes of very different sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["flip_labels", "long_tail"]


def flip_labels(targets: Tensor, share: float, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Symmetric label noise: a share of the samples gets another class, each other class equally likely.

    Exactly round(share N) samples are wrong afterwards. (Some papers draw from all classes, the right one among them,
    so that at "20 %" only 18 % of ten classes' labels are wrong.)

    Args:
        targets: (N,) int64 in [0, num_classes).
        share: Share of the samples whose label becomes wrong, in [0, 1).
        num_classes: C, at least 2 if anything is to be flipped.
        generator: Source of the draws, on the CPU.

    Returns:
        (N,) int64 targets, and an (N,) bool mask of those that are wrong now.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> targets, wrong = flip_labels(torch.zeros(5, dtype=torch.int64), 0.4, 2, torch.Generator().manual_seed(0))
        >>> int(targets.sum()), int(wrong.sum())
        (2, 2)
    """
    if not 0 <= share < 1:
        raise ValueError(f"`label_noise` must be in [0, 1), got {share}; it is the share of wrong labels")
    count = math.floor(share * len(targets) + 0.5)
    if count and num_classes < 2:
        raise ValueError(f"`label_noise` needs at least 2 classes, got {num_classes}")
    wrong = torch.zeros(len(targets), dtype=torch.bool)
    wrong[torch.randperm(len(targets), generator=generator)[:count]] = True
    steps = torch.randint(1, max(2, num_classes), (count,), generator=generator)
    flipped = targets.clone()
    flipped[wrong] = (targets[wrong] + steps) % num_classes
    return flipped, wrong


def long_tail(targets: Tensor, imbalance: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Rows that make the classes' sizes fall off exponentially, from the first class to the last.

    Class c keeps round(n_c f^(-c / (C - 1))) of its n_c samples, at least one, drawn at random: the first all, the last
    a share 1 / f.

    Args:
        targets: (N,) int64 in [0, num_classes).
        imbalance: f, at least 1: size of the first class over that of the last.
        num_classes: Number of classes, C.
        generator: Source of the draws, on the CPU.

    Returns:
        (M,) int64 rows, ascending.

    Raises:
        ValueError: If `imbalance` is below 1 or not finite.

    Reference:
        Cui et al. (2019), Class-Balanced Loss Based on Effective Number of Samples, CVPR, arXiv:1901.05555.

    Example:
        >>> targets = torch.arange(3).repeat_interleave(100)
        >>> torch.bincount(targets[long_tail(targets, 100.0, 3, torch.Generator())]).tolist()
        [100, 10, 1]
    """
    if not 1 <= imbalance < math.inf:
        raise ValueError(f"`imbalance` must be at least 1 and finite, got {imbalance}; 1 changes nothing")
    sizes = torch.bincount(targets, minlength=num_classes)
    shares = imbalance ** (-torch.arange(num_classes, dtype=torch.float64) / max(1, num_classes - 1))
    kept = torch.minimum(sizes, (sizes * shares + 0.5).floor().long().clamp_min(1))
    order = torch.randperm(len(targets), generator=generator)
    # The first of each class in a random order.
    order = order[torch.argsort(targets[order], stable=True)]
    place = torch.arange(len(order)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return order[place < kept[targets[order]]].sort().values
