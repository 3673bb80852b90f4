"""Which samples a batch holds that has come from the loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from dynsel.samplers.collation import Collation, collation_of, read_indices
from dynsel.samplers.feedback import EpochFeedback

__all__ = ["Arrivals"]


class Arrivals:
    """Finds out whether batches hold the samples that were fed, row by row, or what else they hold.

    Args:
        where: Where a batch holds the data set indices of its samples; None = row k is the k-th sample that was fed.
    """

    def __init__(self, where: str | int | Callable[[Any], Any] | None = None) -> None:
        self.where, self._collation = where, Collation(None)

    def look_at(self, loader: DataLoader[Any], pool: Tensor | None) -> None:
        """Find out what the loader's collate function does to the samples of a batch: their order, their dimension.

        Args:
            loader: The user's own loader.
            pool: (P,) int64 indices, the only ones that are fed; None = all.

        Raises:
            ValueError: If it changes their order, and batches don't tell which samples they hold.
        """
        self._collation = collation_of(loader, pool, ordered=self.where is None)
        if self._collation.keeps_order is False:
            name = getattr(loader.collate_fn, "__qualname__", type(loader.collate_fn).__name__)
            raise ValueError(
                f"the collate function {name} puts the samples of a batch into another order than they were fed in, so "
                "that what a row tells would be taken for another sample's: let the batch hold each sample's index in "
                "the data set and say where by `indices=`, a key of the batch or a function of it"
            )

    def axis_of(self, path: tuple[Any, ...]) -> int | None:
        """The dimension of the samples in a tensor of a batch, by the path to it; None if it isn't known."""
        return self._collation.axis(path)

    def enter(self, feedback: EpochFeedback, batch_idx: int, batch: Any) -> None:
        """Tell `feedback` which samples a batch holds, where it says so itself.

        Args:
            feedback: Feedback of the current epoch.
            batch_idx: Batch of the current epoch, from 0.
            batch: As it came from the loader.

        Raises:
            ValueError: If it holds others than were fed, or fewer without telling which.
        """
        if self.where is not None:
            indices = read_indices(self.where, batch)
            feedback.arrange(batch_idx, feedback.sampler.whole.positions_of(indices))
            return
        rows, known = self._collation.rows(batch), len(feedback.positions(batch_idx))
        if rows not in (None, known):
            raise ValueError(
                f"batch {batch_idx} holds {rows} samples, but {known} were fed: where a collate function leaves some "
                "out, nobody can tell which; let the batch hold each sample's index in the data set and say where by "
                "`indices=`, a key of the batch or a function of it"
            )
