"""How one rank's part of an order is cut into batches. Pure."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["RankBatches", "count_batches"]


def count_batches(samples: int, ranks: int, batch_size: int, drop_last: bool) -> int:
    """Batches that each rank makes of its share of the samples.

    Args:
        samples: Samples of all ranks; below 0 where the padding of the last batch has gone past the end.
        ranks: Number of ranks, at least 1.
        batch_size: Samples in a batch, on one rank.
        drop_last: Whether a last batch that isn't full is left out.

    Example:
        >>> count_batches(10, 2, 2, drop_last=False), count_batches(10, 2, 2, drop_last=True)
        (3, 2)
    """
    local = math.ceil(max(0, samples) / ranks)
    return local // batch_size if drop_last else math.ceil(local / batch_size)


class RankBatches:
    """The batches of one rank, from a place in the order on; consecutive samples go to consecutive ranks.

    Args:
        order: (L,) int64 positions, the same on every rank; at the end filled up from the front, so that every rank
            gets as many.
        groups: (L,) int64 numbers of the batch that each entry belongs to, ascending; None = runs of `batch_size`.
        start: How much of the order was used before.
        first_batch: Number of the first batch.
        batch_size: Samples in a batch, on one rank.
        drop_last: Whether a last batch that isn't full is left out.
        ranks: Number of ranks.
        rank: Number of this rank, from 0.

    Attributes:
        order: (l,) int64, what this rank feeds.

    Example:
        >>> part = RankBatches(torch.arange(7), None, batch_size=2, ranks=2, rank=1)
        >>> part.order.tolist(), part.batch(1).tolist(), part.used(1, 2).tolist()
        ([1, 3, 5, 0], [5, 0], [4, 5, 6, 0])
    """

    def __init__(
        self,
        order: Tensor,
        groups: Tensor | None,
        *,
        start: int = 0,
        first_batch: int = 0,
        batch_size: int,
        drop_last: bool = False,
        ranks: int = 1,
        rank: int = 0,
    ) -> None:
        self._padded = _padded(order, start, ranks)
        self.order = self._padded[rank::ranks]
        self._groups = None if groups is None else groups[start:]
        self._start, self._first, self._size = start, first_batch, batch_size
        self._drop_last, self._ranks = drop_last, ranks

    @cached_property
    def ends(self) -> list[int]:
        """Where each batch ends in `order`."""
        if self._groups is not None:
            last = torch.ones(len(self._groups), dtype=torch.bool)
            last[:-1] = self._groups[1:] != self._groups[:-1]
            return (last.nonzero()[:, 0] + 1).tolist()
        size, length = self._size, len(self.order)
        whole = list(range(size, length + 1, size))
        return whole if self._drop_last or length % size == 0 else [*whole, length]

    def batch(self, batch_idx: int) -> Tensor:
        """Positions of this rank's batch.

        Args:
            batch_idx: Batch of the epoch, from 0.

        Returns:
            (B,) int64.
        """
        start, end = self._place(batch_idx), self._place(batch_idx + 1)
        return self.order[start:end]

    def used(self, start_batch: int, stop_batch: int) -> Tensor:
        """Positions that all ranks together feed in some batches.

        Args:
            start_batch: The first of them.
            stop_batch: The one after the last.

        Returns:
            (U,) int64, in the order of the epoch.
        """
        # One batch of every rank is one run of the order.
        return self._padded[self._place(start_batch) * self._ranks : self._place(stop_batch) * self._ranks]

    def position(self, batch_idx: int) -> int:
        """Samples of the (padded) order that all ranks have used before a batch starts.

        Args:
            batch_idx: Batch of the epoch, from 0.
        """
        return self._start + self._place(batch_idx) * self._ranks

    def _place(self, batch_idx: int) -> int:
        """Where a batch starts in `order`; its end for one that comes after the last."""
        number = batch_idx - self._first
        if self._groups is None:
            return min(number * self._size, len(self.order))
        number = min(number, len(self.ends))
        return self.ends[number - 1] if number else 0


def _padded(order: Tensor, start: int, ranks: int) -> Tensor:
    missing = -(len(order) - start) % ranks
    if not missing:
        return order[start:]
    # A selection smaller than the number of ranks goes around more than once.
    repeats = math.ceil((len(order) + missing) / len(order))
    return order.repeat(repeats)[start : len(order) + missing]
