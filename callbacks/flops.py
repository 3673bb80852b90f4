"""Floating-point operations of a training, counted once on one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from dynsel._lib.operations import FlopTap, can_count
from dynsel.samplers.epoch_record import Books

__all__ = ["FlopCounter"]


class FlopCounter:
    """Enters into the books what training on one sample takes, and what scoring one takes.

    Args:
        books: Where that is entered.
        wanted: Whether anything is counted at all.
    """

    def __init__(self, books: Books, *, wanted: bool) -> None:
        self.books, self.wanted = books, wanted
        self._tap: FlopTap | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy counts nothing that is under way.
        return {**vars(self), "_tap": None}

    def begin_batch(self, module: nn.Module) -> None:
        """Count from here on, unless it is known already what a sample takes.

        Args:
            module: The module in training; one that is compiled isn't counted.
        """
        self.close()
        if self.wanted and self.books.trained_flops is None and can_count(module):
            self._tap = FlopTap().__enter__()

    def end_batch(self, size: int) -> None:
        """Enter what was counted.

        Args:
            size: Number B of samples in the batch.
        """
        if self._tap is not None:
            self._tap.close()
            self.books.set_flops(trained=self._tap.total / size)
            self._tap = None

    def close(self) -> None:
        """Count no more; calling it again does nothing."""
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    @contextmanager
    def scoring(self, module: nn.Module, size: int) -> Iterator[None]:
        """Around whatever scores the samples of a batch; counts once.

        Args:
            module: Network that scores; one that is compiled isn't counted.
            size: Number of samples that are scored.
        """
        if not self.wanted or self.books.scored_flops is not None or not can_count(module):
            yield
            return
        with FlopTap() as tap:
            yield
        self.books.set_flops(scored=tap.total / size)
