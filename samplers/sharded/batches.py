"""The batches of one rank that feeds from its own shards; only those are kept that somebody may still ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.samplers.sharded.order import ShardedOrder

__all__ = ["ShardBatches"]


class ShardBatches:
    """Does what `RankBatches` does, without the whole order: it is computed as far as batches are asked for.

    Args:
        order: Of this rank.
        start: Samples of it that all ranks together used before; they divide it.
        first_batch: Number of the first batch.
        batch_size: Samples in a batch, on one rank.
        drop_last: Whether a last batch that isn't full is left out.
    """

    def __init__(
        self, order: ShardedOrder, *, start: int = 0, first_batch: int = 0, batch_size: int, drop_last: bool = False
    ) -> None:
        self._order, self._start, self._first = order, start, first_batch
        self._size, self._drop_last = batch_size, drop_last
        self._ranks = order.whole.shards.num_ranks
        self.length = max(0, order.count - start) // self._ranks
        self._go_to_front()

    def _go_to_front(self) -> None:
        self._pieces: Iterator[Any] = self._order.places(self._start // self._ranks)
        self._kept = np.zeros(0, dtype=np.int64)
        self._kept_from = 0

    @property
    def number(self) -> int:
        """How many batches there are."""
        return self.length // self._size if self._drop_last else -(-self.length // self._size)

    def batch(self, batch_idx: int) -> Tensor:
        """(B,) int64 places of this rank's batch."""
        return self.used(batch_idx, batch_idx + 1)

    def used(self, start_batch: int, stop_batch: int) -> Tensor:
        """(n,) int64 places that this rank feeds in batches `start_batch` to `stop_batch` - 1."""
        return torch.from_numpy(self.run(self._place(start_batch), self._place(stop_batch)))

    def run(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[Any]]:
        """(stop - start,) int64 places, by their number in what this rank feeds."""
        if start < self._kept_from:
            self._go_to_front()
        pieces, end = [self._kept], self._kept_from + len(self._kept)
        while end < stop:
            pieces.append(next(self._pieces))
            end += len(pieces[-1])
        if len(pieces) > 1:
            self._kept = np.concatenate(pieces)
        return self._kept[start - self._kept_from : stop - self._kept_from]

    def forget(self, batch_idx: int) -> None:
        """Nobody asks for batches before this one any more; they can still be had, for the price of a new start."""
        start = min(self._place(batch_idx), self._kept_from + len(self._kept))
        if start > self._kept_from:
            self._kept = self._kept[start - self._kept_from :].copy()
            self._kept_from = start

    def position(self, batch_idx: int) -> int:
        """Samples of the order used before batch `batch_idx` starts, by all ranks."""
        return self._start + self._place(batch_idx) * self._ranks

    def _place(self, batch_idx: int) -> int:
        return min((batch_idx - self._first) * self._size, self.length)
