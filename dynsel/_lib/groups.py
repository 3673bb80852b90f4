"""Positions by the code that stands there, as of classes, clusters or cells."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["groups"]


def groups(codes: Tensor) -> list[Tensor]:
    """The positions of each code, ascending.

    Args:
        codes: (N,) integers, at least 0.

    Returns:
        For each code from 0 to the highest its positions, int64, none where it doesn't occur.

    Example:
        >>> [positions.tolist() for positions in groups(torch.tensor([2, 0, 2]))]
        [[1], [], [0, 2]]
    """
    return list(torch.split(codes.argsort(stable=True), torch.bincount(codes).tolist()))
