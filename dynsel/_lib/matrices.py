"""Reading an (N, d) feature matrix in blocks of rows, whatever holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LARGEST", "Array", "Matrix", "Sparse", "blocks", "check_matrix", "moments", "name_rows", "take"]

Array: TypeAlias = NDArray[Any]
Matrix: TypeAlias = Tensor | Array
Sparse: TypeAlias = Any  # scipy's sparse arrays have no types

LARGEST = 1e15
_BLOCK_VALUES = 2**22  # 16 MB of float32 a block: bounded memory, and still few blocks


def check_matrix(features: Any, name: str = "features") -> None:
    """Check that this is a feature matrix: (N, d) floating point, finite.

    Args:
        features: What the user gave as features, of any type.
        name: Name of the argument in the messages.

    Raises:
        TypeError: If it is no tensor or array, or not of a floating-point type.
        ValueError: If it isn't 2-D, is empty, or holds NaN, infinite values or values above 1e15 in size, whose squares
            float32 couldn't add up (the message names the rows).
    """
    if not isinstance(features, (Tensor, np.ndarray)):
        raise TypeError(f"`{name}` must be a tensor or a NumPy array, got {type(features).__name__}")
    if features.ndim != 2:
        raise ValueError(
            f"`{name}` must be 2-D, (N samples, d), got shape {tuple(features.shape)}; "
            "flatten what describes one sample: `features.reshape(N, -1)`"
        )
    floating = features.is_floating_point() if isinstance(features, Tensor) else features.dtype.kind == "f"
    if not floating:
        raise TypeError(
            f"`{name}` must be floating point, got {features.dtype}; if these really are features and not "
            "labels or indices, convert them to float32"
        )
    if 0 in features.shape:
        raise ValueError(f"`{name}` must have at least one row and one column, got shape {tuple(features.shape)}")
    bad: list[int] = []
    large: list[int] = []
    for rows in blocks(features):
        block = take(features, rows)
        bad += _rows_where(~torch.isfinite(block), rows.start)
        large += _rows_where(torch.isfinite(block) & (block.abs() > LARGEST), rows.start)
    if bad:
        raise ValueError(f"`{name}` must be finite, got NaN or infinite values in {name_rows(bad)}; compute them again")
    if large:
        raise ValueError(
            f"`{name}` must be at most {LARGEST:g} in size, whose squares float32 can add up, got larger values in "
            f"{name_rows(large)}; scale them"
        )


def _rows_where(wrong: Tensor, start: int) -> list[int]:
    rows: list[int] = wrong.any(1).nonzero()[:, 0].add(start).tolist()
    return rows


def name_rows(rows: list[int]) -> str:
    """The first five of these rows, in words, and how many there are.

    Args:
        rows: Numbers of the rows, at least one.

    Example:
        >>> name_rows([3]), name_rows([1, 4])
        ('row 3', 'rows 1, 4')
    """
    if len(rows) == 1:
        return f"row {rows[0]}"
    listed = ", ".join(map(str, rows[:5]))
    return f"rows {listed}" if len(rows) <= 5 else f"rows {listed}, ... ({len(rows)} in all)"


def blocks(features: Matrix, size: int | None = None) -> Iterator[slice]:
    """Slices that cover the rows in turn.

    Args:
        features: (N, d) tensor, array or memory map.
        size: Number of rows in a block; by default those of some 4 million values.

    Yields:
        Slices of at most `size` rows, ascending.
    """
    count, width = features.shape
    size = max(1, _BLOCK_VALUES // width) if size is None else size
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def take(features: Matrix, rows: slice | Tensor, device: torch.device | None = None) -> Tensor:
    """These rows as a new or viewed tensor.

    Args:
        features: (N, d) floating point.
        rows: A slice, or (B,) int64 indices on the CPU.
        device: Where the rows go; by default they stay where the features lie.

    Returns:
        (B, d) float32.
    """
    if isinstance(features, Tensor):
        index = rows if isinstance(rows, slice) else rows.to(features.device)
        return features[index].detach().to(device or features.device, torch.float32)
    picked = np.asarray(features[rows if isinstance(rows, slice) else rows.numpy()])
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is found by the check
        return torch.from_numpy(picked.astype(np.float32)).to(device or "cpu")


def moments(features: Matrix, mask: Tensor | None = None) -> tuple[Tensor, float]:
    """Mean of the rows, and the sum of their squared distances from it.

    Args:
        features: (N, d) floating point.
        mask: (N,) bool, which rows count; None = all.

    Returns:
        (d,) float64 on the device of the features, and the sum.

    Reference:
        Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance (the update for blocks).
    """
    mean, spread, count = torch.zeros(()), torch.zeros(()), 0
    for rows in blocks(features):
        block = take(features, rows).double()
        block = block if mask is None else block[mask[rows].to(block.device)]
        if not len(block):
            continue
        n, centre = len(block), block.mean(0)
        apart = centre - mean.to(centre)
        share = n / (count + n)
        spread = spread.to(centre) + (block - centre).square().sum() + apart.square().sum() * count * share
        mean = mean.to(centre) + apart * share
        count += n
    return mean, float(spread)
