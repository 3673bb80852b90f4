"""Ranks of values that no process has all of: a cumulative distribution from two rounds of counting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

__all__ = ["Alone", "Cdf", "Reduce", "fit_cdf", "order_keys"]

Array = np.ndarray[Any, np.dtype[Any]]

# `bincount` copies what it counts to 8 bytes each: a piece at a time.
CHUNK = 1 << 20
# Cells of the first round, as a power of two, and about half of those of the second: both together stay below 1 MiB.
COARSE_BITS = 12
FINE_CELLS = 59_000


class Reduce(Protocol):
    """What several processes know together; every one must call it at the same place."""

    def sum(self, values: Array) -> Array:
        """Sum over the ranks of (n,) int64."""

    def max(self, values: Array) -> Array:
        """Largest over the ranks of (n,) int64 or float64."""


class Alone:
    """A `Reduce` of one process, which has everything."""

    def sum(self, values: Array) -> Array:
        """(n,) as they are."""
        return values

    def max(self, values: Array) -> Array:
        """(n,) as they are."""
        return values


def order_keys(values: Array) -> Array:
    """Whole numbers in the order of the values: (n,) uint32 from (n,) float32 without NaN; -0.0 and 0.0 are equal."""
    bits = (values + np.float32(0)).view(np.uint32)
    keys: Array = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(0x80000000))
    return keys


class Cdf:
    """Turns values into ranks among all that were counted; made by `fit_cdf`.

    Args:
        low: Key of the smallest value.
        shift: Bits of a key's distance from it that lie inside one of the first round's cells.
        bits: (c,) uint32, how many of them tell the finer cells apart.
        first: (c,) int64, number of the first finer cell of each.
        table: (f,) float32, rank of each finer cell.

    Reference:
        Two rounds of counting are ours; the ranks are those of `dynsel.selectors.ranking.loss_rank`, within a cell.
    """

    def __init__(self, low: int, shift: int, bits: Array, first: Array, table: Array) -> None:
        self._low, self._shift, self._bits, self._first, self.table = low, shift, bits, first, table

    def ranks(self, values: Array) -> Array:
        """(n,) float32 ranks in (0, 1) of (n,) float32 values that were counted; NaN, which wasn't, ranks 1."""
        ranks = np.ones(len(values), dtype=np.float32)
        for piece, known, keys in _pieces(values):
            found = self.table[_cells(keys, self._low, self._shift, self._bits, self._first)]
            ranks[piece][known] = found
        return ranks


def fit_cdf(values: Array, reduce: Reduce, clip: float = 0.0) -> Cdf | None:
    """Count all ranks' values in cells: once coarsely, then finely where most of them are.

    A value's rank is the mean rank of its cell, (place + 0.5) / n as in `loss_rank`: equal values share their mean rank
    exactly, and others that share a cell are off by less than 1e-4 for the losses of a training (measured: 5.8e-5).

    Args:
        values: (n,) float32, those of this process; NaN isn't counted.
        reduce: Three rounds of it, below 1 MiB together, whatever n is.
        clip: Share of the values, the highest, that rank lowest instead, the highest last; in [0, 1).

    Returns:
        None if no process has a value.

    Example:
        >>> values = np.array([0.1, np.nan, 0.4, 0.2, 0.3], dtype=np.float32)
        >>> fit_cdf(values, Alone()).ranks(values).tolist()
        [0.125, 1.0, 0.875, 0.375, 0.625]
    """
    low, high = _range(values, reduce)
    if low > high:
        return None
    shift = max(0, (high - low).bit_length() - COARSE_BITS)
    none = np.zeros((high - low >> shift) + 1, dtype=np.uint32)
    counts = reduce.sum(_counted(values, low, shift, none, np.arange(len(none)), len(none)))
    total = int(counts.sum())
    wanted = np.maximum(counts * (FINE_CELLS / total), 1.0)
    bits = np.minimum(np.ceil(np.log2(wanted)), shift).astype(np.uint32)
    ends = np.cumsum(np.int64(1) << bits.astype(np.int64))
    first = ends - (np.int64(1) << bits.astype(np.int64))
    fine = reduce.sum(_counted(values, low, shift, bits, first, int(ends[-1])))
    return Cdf(low, shift, bits, first, _rank_table(fine, total, clip))


def _rank_table(counts: Array, total: int, clip: float) -> Array:
    place = np.cumsum(counts) - counts + (counts - 1) / 2
    clipped = int(clip * total + 0.5)
    place = np.where(place > total - 1 - clipped, total - 1 - place, place + clipped)
    table: Array = ((place + 0.5) / total).astype(np.float32)
    return table


def _range(values: Array, reduce: Reduce) -> tuple[int, int]:
    """Keys of the smallest and the largest value; the first above the second if there is none."""
    low, high = 1 << 32, -1
    for _, _, keys in _pieces(values):
        if len(keys):
            low, high = min(low, int(keys.min())), max(high, int(keys.max()))
    # The largest of the opposite is the opposite of the smallest.
    lowest, highest = reduce.max(np.array([-low, high], dtype=np.int64)).tolist()
    return -lowest, highest


def _counted(values: Array, low: int, shift: int, bits: Array, first: Array, cells: int) -> Array:
    counts = np.zeros(cells, dtype=np.int64)
    for _, _, keys in _pieces(values):
        counts += np.bincount(_cells(keys, low, shift, bits, first), minlength=cells)
    return counts


def _cells(keys: Array, low: int, shift: int, bits: Array, first: Array) -> Array:
    distance = keys - np.uint32(low)
    coarse = distance >> np.uint32(shift)
    inside = distance & np.uint32((1 << shift) - 1)
    cells: Array = first[coarse] + (inside >> (np.uint32(shift) - bits[coarse]))
    return cells


def _pieces(values: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Piece by piece: where it is, which of its values are known, and their keys."""
    for start in range(0, len(values), CHUNK):
        piece = slice(start, start + CHUNK)
        known = ~np.isnan(values[piece])
        yield piece, known, order_keys(values[piece][known])
