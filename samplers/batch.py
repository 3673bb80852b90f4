"""Batches of which only the part that a batch selector keeps is ever loaded.

An epoch's order, the same permutation of the whole data set that any selection is made from, is cut into runs of
candidates, B / ρ each; of every run B stay. What stays, in that order, falls into just those batches, so that
position, workers, ranks and resume are those of any selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from dynsel._lib.checks import check_integer, check_keys, check_seed
from dynsel.samplers.ranks import decide_once
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.schedules import Schedule, as_keep_ratio, sample_count
from dynsel.selectors.batch import BatchSelector

__all__ = ["BatchSelectionSampler", "check_candidates", "keep_in_batches", "split_candidates"]


def split_candidates(num_samples: int, size: int, batch_size: int) -> tuple[list[slice], list[int]]:
    """Cut an order into runs of candidates, so that exactly `size` of them stay.

    Run j ends at round((j + 1) B N / M), so runs differ by one sample at most; what is left in the end, less than one
    batch, has its candidates in proportion.

    Args:
        num_samples: N, length of the order.
        size: M, how many stay, 1 .. N.
        batch_size: Size B of a batch that is trained on.

    Returns:
        The runs, and how many of each stay: B, of the last one what is left.

    Raises:
        ValueError: If fewer candidates are there than are to be kept.

    Example:
        >>> split_candidates(num_samples=20, size=7, batch_size=3)
        ([slice(0, 9, None), slice(9, 17, None), slice(17, 20, None)], [3, 3, 1])
    """
    if not 1 <= size <= num_samples:
        raise ValueError(f"`size` must be between 1 and the number of candidates, {num_samples}, got {size}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
    kept = np.minimum(np.arange(batch_size, size + batch_size, batch_size), size)
    # Rounded half up, in whole numbers.
    ends = (2 * kept * num_samples + size) // (2 * size)
    starts = [0, *ends[:-1].tolist()]
    runs = [slice(start, end) for start, end in zip(starts, ends.tolist(), strict=True)]
    return runs, np.diff(kept, prepend=0).tolist()


def keep_in_batches(selector: BatchSelector, order: Tensor, size: int, batch_size: int, progress: float) -> Tensor:
    """What a batch selector keeps of an epoch's order.

    Args:
        selector: Bound, and fitted if it needs that.
        order: (N,) int64 positions in the data set.
        size: Number M of samples that stay.
        batch_size: B, how many of them go into a batch.
        progress: Share of training done, in [0, 1].

    Returns:
        (M,) int64 positions in the order, ascending: of each run of candidates those that stay.

    Raises:
        ValueError: If the selector keeps another number than asked for, or something that is no candidate.
    """
    runs, counts = split_candidates(len(order), size, batch_size)
    kept = selector.select_batches([order[run] for run in runs], counts, progress)
    for run, count, rows in zip(runs, counts, kept, strict=True):
        if len(rows) != count or not 0 <= int(rows.min()) <= int(rows.max()) < run.stop - run.start:
            raise ValueError(
                f"{type(selector).__name__} must keep {count} of {run.stop - run.start} candidates, got {len(rows)}"
            )
    return torch.cat([rows + run.start for run, rows in zip(runs, kept, strict=True)])


def check_candidates(keep_ratio: Schedule, batch_size: int, num_samples: int, *, shrink: bool) -> None:
    """Check that a batch of candidates isn't larger than the data set, at any progress.

    Args:
        keep_ratio: Schedule of the keep ratio; looked at at 1,001 points of progress.
        batch_size: Size B of the loader's batches.
        num_samples: Number of samples, N.
        shrink: Whether candidates come in batches of B instead of B / ρ.

    Raises:
        ValueError: If it is.
    """
    ratio = min(keep_ratio(i / 1000) for i in range(1001))
    size = batch_size if shrink else batch_of_candidates(ratio, batch_size)
    if size > num_samples:
        made = f"{size}" if shrink else f"{batch_size} / {ratio:g} = {size}"
        raise ValueError(
            f"batches of {made} candidates are larger than the data set of {num_samples} samples; lower `batch_size`"
            + ("" if shrink else ", raise `keep_ratio`, or pass shrink=True to the selector")
        )


def batch_of_candidates(keep_ratio: float, batch_size: int) -> int:
    """Number of candidates of which a batch stays: B / ρ, rounded half up.

    Args:
        keep_ratio: ρ, share of the candidates that stay, in (0, 1].
        batch_size: Size B of the batch that is trained on.
    """
    return int(batch_size / keep_ratio + 0.5)


class BatchSelectionSampler(Sampler[list[int]]):
    """A batch sampler for a plain DataLoader: candidates of B / ρ samples, of which B are yielded.

    Under Lightning, and wherever feedback or usage matter, `SelectionController` does the same and keeps the books.

    Args:
        data_source: The data set; only its length is used.
        selector: A batch selector, fitted if it needs features; bound here unless it is bound to this length.
        batch_size: Size B of a batch, on each rank.
        keep_ratio: ρ in (0, 1], or a schedule over `max_epochs`.
        max_epochs: Length of training, for the schedule.
        shuffle: Permute by (seed, epoch).
        drop_last: Leave out a last batch of fewer than B.
        seed: Seed of order and selector, at least 0.
        num_replicas: Number of ranks. A run of candidates belongs to no rank: what stays of all is shared out.
        rank: Number of this rank, from 0.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of range, or a batch of candidates larger than the data set.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from dynsel.selectors import RandomInBatch
        >>> sampler = BatchSelectionSampler(range(16), RandomInBatch(), batch_size=2, keep_ratio=0.25)
        >>> [batch.tolist() for batch in DataLoader(range(16), batch_sampler=sampler)]
        [[12, 11], [3, 1]]
    """

    def __init__(
        self,
        data_source: Sized,
        selector: BatchSelector,
        batch_size: int,
        keep_ratio: float | Schedule = 0.25,
        *,
        max_epochs: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if not isinstance(selector, BatchSelector):
            raise TypeError(
                "`selector` must be a BatchSelector, which chooses before anything is loaded, "
                f"got {type(selector).__name__}"
            )
        self.selector, self.keep_ratio = selector, as_keep_ratio(keep_ratio)
        self.max_epochs = check_integer("max_epochs", max_epochs, at_least=1)
        check_integer("batch_size", batch_size, at_least=1)
        seed = check_seed("seed", seed)
        self.sampler = SelectionSampler(
            data_source,
            shuffle=shuffle,
            seed=seed,
            num_replicas=num_replicas,
            rank=rank,
            batch_size=batch_size,
            drop_last=drop_last,
        )
        check_candidates(self.keep_ratio, batch_size, self.sampler.num_total, shrink=selector.shrink)
        if selector.num_samples != self.sampler.num_total:
            selector.bind(self.sampler.num_total, seed=seed)
        self._chosen: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the samples of an epoch; to be called before each but the first.

        Args:
            epoch: Number of the epoch, from 0.
        """
        sampler, progress = self.sampler, min(1.0, epoch / self.max_epochs)
        ratio = self.keep_ratio(progress)
        sampler.begin(epoch, batch_size=sample_count(ratio, sampler.batch_size) if self.selector.shrink else None)
        sampler.select(None)
        order, size = sampler.draw(), sample_count(ratio, sampler.num_total)
        kept = decide_once(lambda: keep_in_batches(self.selector, order, size, sampler.step_size, progress))
        sampler.keep(kept)
        self._chosen = epoch

    def __iter__(self) -> Iterator[list[int]]:
        if self._chosen is None:
            self.set_epoch(0)
        for i in range(self.sampler.first_batch, self.sampler.num_batches()):
            yield self.indices(i).tolist()

    def __len__(self) -> int:
        if self._chosen is None:
            self.set_epoch(0)
        return self.sampler.num_batches() - self.sampler.first_batch

    def indices(self, batch_idx: int) -> Tensor:
        """Which samples this rank's batch of the current epoch holds.

        Args:
            batch_idx: Number of the batch in the epoch, from 0.

        Returns:
            (B,) int64 indices in the data set.
        """
        return self.sampler.part.batch(batch_idx)

    def state_dict(self, batches: int = 0) -> dict[str, Any]:
        """Everything to continue exactly within this epoch; tensors and numbers.

        Args:
            batches: Number of batches of the epoch that were trained on.
        """
        return {"sampler": self.sampler.state_dict(batches), "selector": self.selector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If it is of another selector or data set, or of another version.
        """
        check_keys("the batches", state, ("sampler", "selector"))
        self.selector.load_state_dict(state["selector"])
        self.sampler.load_state_dict(state["sampler"])
        self._chosen = self.sampler.epoch
