"""What the batches of an epoch held and what training told of them, on all ranks together."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from dynsel.samplers.ranks import gather_rows, num_ranks
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.selectors import Feedback

__all__ = ["EpochFeedback"]


class EpochFeedback:
    """Knows, for each batch of the current epoch, its samples and what was told of them, until that is collected.

    Args:
        sampler: Sampler that feeds the batches.

    Attributes:
        counted: Batches of this epoch that were collected already.
    """

    def __init__(self, sampler: SelectionSampler) -> None:
        self.sampler = sampler
        self.begin()

    def begin(self, counted: int = 0) -> None:
        """Begin an epoch.

        Args:
            counted: Number of its batches that were collected before a restart.
        """
        self.counted = counted
        # Batches that were cut: which positions stayed, None = all.
        self._kept: dict[int, Tensor | None] = {}
        # Positions of batches that tell them by themselves, row by row.
        self._rows: dict[int, Tensor] = {}
        # Batches of a selection that was followed by another before they were collected: this rank's samples, those of
        # all ranks, and the weights.
        self._former: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._told: dict[int, dict[str, Tensor]] = {}

    def of(self, sampler: SelectionSampler) -> EpochFeedback:
        """The same feedback for a copy of the sampler.

        Args:
            sampler: The copy, which has fed the same batches.
        """
        twin = type(self)(sampler)
        twin.begin(self.counted)
        twin._kept.update(self._kept)
        twin._rows.update(self._rows)
        twin._former.update(self._former)
        twin._told.update(self._told)
        return twin

    def leave_order(self) -> None:
        """The epoch goes on with another order: remember batches that were handed out and not collected yet."""
        sampler, weights = self.sampler, self.sampler.weights
        for b in range(max(self.counted, sampler.first_batch), sampler.stage.delivered):
            self._former[b] = sampler.part.batch(b), sampler.part.used(b, b + 1), weights

    # ---------------------------------------------------------------- a batch
    def positions(self, batch_idx: int) -> Tensor:
        """Positions (see `SelectionSampler`) of this rank's batch, or of the part of it that is trained on.

        Args:
            batch_idx: Batch of the current epoch, from 0.

        Returns:
            (B,) int64.
        """
        rows, kept = self.rows(batch_idx), self._kept.get(batch_idx)
        return rows if kept is None else rows[kept]

    def rows(self, batch_idx: int) -> Tensor:
        """Positions of this rank's batch before any of it was cut.

        Args:
            batch_idx: Batch of the current epoch, from 0.

        Returns:
            (B,) int64, in the order of the batch's rows.
        """
        rows = self._rows.get(batch_idx)
        return self._fed(batch_idx) if rows is None else rows

    def _fed(self, batch_idx: int) -> Tensor:
        if batch_idx in self._former:
            return self._former[batch_idx][0]
        if batch_idx < self.sampler.first_batch and self.sampler.epoch_batches is not None:
            raise ValueError(
                f"batch {batch_idx} was one of a selection that is over: tell of a batch before the next one is asked "
                "for. Where batches are fetched ahead of training, give `keep_ratio` without `budget`: an epoch then "
                "has one selection"
            )
        return self.sampler.part.batch(batch_idx)

    def arrange(self, batch_idx: int, positions: Tensor) -> None:
        """Enter which samples a batch holds, row by row: in another order than they were fed, or not all of them.

        As with `keep`, if any batch is told of, on any rank, every one must be.

        Args:
            batch_idx: Batch of the current epoch, from 0.
            positions: (B,) int64 positions (see `SelectionSampler`), one for each row.

        Raises:
            ValueError: If there is one that the sampler didn't feed.
        """
        fed, counts = np.unique(self._fed(batch_idx).numpy(), return_counts=True)
        held, times = np.unique(positions.numpy(), return_counts=True)
        places = np.searchsorted(fed, held).clip(max=len(fed) - 1)
        wrong = (fed[places] != held) | (times > counts[places])
        if wrong.any():
            index = int(self.sampler.whole.dataset_indices(torch.from_numpy(held[wrong]))[0])
            raise ValueError(
                f"batch {batch_idx} holds sample {index} by its own account, which was not fed (so often): "
                "`indices` must give the positions in the data set that its items were read from"
            )
        self._rows[batch_idx] = positions
        self._kept.pop(batch_idx, None)

    def weights(self, batch_idx: int) -> Tensor | None:
        """Loss weights of a batch, or of the part of it that is trained on.

        Args:
            batch_idx: Batch of the current epoch, from 0.

        Returns:
            (B,) float32; None when every sample counts alike.
        """
        weights = self._former[batch_idx][2] if batch_idx in self._former else self.sampler.weights
        return None if weights is None else weights[self.positions(batch_idx)]

    def keep(self, batch_idx: int, positions: Tensor | None, size: int = 0) -> None:
        """Enter that only a part of a batch is trained on; whatever is asked or told of the batch is then about it.

        If any batch is told of, on any rank, every one must be: several ranks tell each other what they kept.

        Args:
            batch_idx: Batch of the current epoch.
            positions: (K,) int64 positions in the batch that stay; None = all of them.
            size: Samples in the batch before it was cut; not looked at if all stay.

        Raises:
            ValueError: If the sampler fed another number of samples.
        """
        fed = len(self.rows(batch_idx))
        if positions is not None and size != fed:
            raise ValueError(
                f"batch {batch_idx} has {size} samples, but the sampler fed {fed}: where a collate function or a "
                "transfer hook changes their number, nobody can tell which ones stay; do that in `training_step`"
            )
        self._kept[batch_idx] = positions

    def check(self, batch_idx: int, values: Mapping[str, Tensor | None]) -> None:
        """Check that there is one row for each sample of a batch.

        Args:
            batch_idx: Batch of the current epoch, from 0.
            values: Tensors of shape (B, ...) by name; None = not told.

        Raises:
            ValueError: If there isn't; names what has another number.
        """
        size = len(self.positions(batch_idx))
        for name, rows in values.items():
            if rows is not None and len(rows) != size:
                raise ValueError(
                    f"`{name}` must have one row per sample of batch {batch_idx}: expected {size}, got {len(rows)}"
                )

    def hear(
        self,
        batch_idx: int,
        wants: Collection[str],
        told: Mapping[str, Tensor | None],
        batch_loss: Tensor | float | None = None,
    ) -> None:
        """Enter what was told of a batch. It stays where it is, on a GPU perhaps, until it is collected.

        Args:
            batch_idx: Batch of the current epoch, from 0.
            wants: Names of the numbers to enter.
            told: Tensors of shape (B, ...) by name, in the order of `positions`; None = not told.
            batch_loss: Mean loss of the batch, one number; not looked at if its samples' losses are told and wanted
                too. None takes the mean of these.

        Raises:
            ValueError: If the number of values is not that of the batch's samples.
        """
        self.check(batch_idx, told)
        values = dict(told)
        if "batch_loss" in wants:
            losses, mean = told.get("per_sample_loss"), batch_loss
            # Who compares the two needs both of one kind; anybody else the same kind every time.
            if losses is not None and (mean is None or "per_sample_loss" in wants):
                # Of equal losses none is below their mean, which rounding might put above them.
                known = losses.float()
                lowest, highest = (known.nan_to_num(end, torch.inf, -torch.inf) for end in (torch.inf, -torch.inf))
                mean = known.nanmean().maximum(lowest.amin()).minimum(highest.amax())
            size = len(self.positions(batch_idx))
            values["batch_loss"] = None if mean is None else torch.as_tensor(mean).float().expand(size)
        wanted = {name: numbers.detach() for name in wants if (numbers := values.get(name)) is not None}
        if wanted:
            self._told.setdefault(batch_idx, {}).update(wanted)

    # ---------------------------------------------------------------- all ranks
    def collect(self, done: int, wants: Collection[str]) -> Feedback:
        """What all ranks trained on in the batches before `done` that weren't collected yet.

        A collective: every rank must call it at the same place. Of each sample trained on, 4 bytes travel for each
        name wanted, and 8 for its index if batches were cut, for then each rank knows only its own.

        Args:
            done: Number of batches of this epoch that were trained on.
            wants: Names of the values to collect; NaN stands for what wasn't told.
        """
        batches = range(self.counted, done)
        if self._is_known_here_only:
            used = torch.cat(self._of_replicas(torch.cat([self.positions(b) for b in batches])))
        else:
            former = [self._former[b][1] for b in batches if b in self._former]
            used = torch.cat([*former, self.sampler.part.used(self.counted + len(former), done)])
        values = {name: self._in_order(self._of_replicas(self._own(name, batches)), used) for name in sorted(wants)}
        self._told, self.counted = {}, done
        self._former = {b: known for b, known in self._former.items() if b >= done}
        return Feedback(used, **{name: self._by_sample(used, numbers) for name, numbers in values.items()})

    @property
    def _is_known_here_only(self) -> bool:
        """Whether no other rank can know what this one's batches held."""
        return bool(self._kept or self._rows)

    def _own(self, name: str, batches: range) -> Tensor:
        """(b,) float32, what this rank was told of its samples, copied from the device once for all batches."""
        rows = [self._told.get(b, {}).get(name) for b in batches]
        there = [row.float() for row in rows if row is not None]
        moved = iter(torch.split(torch.cat(there).cpu(), [len(row) for row in there]) if there else ())
        blank = [torch.full((len(self.positions(b)),), math.nan) for b in batches]
        return torch.cat([empty if row is None else next(moved) for row, empty in zip(rows, blank, strict=True)])

    def _of_replicas(self, rows: Tensor) -> list[Tensor]:
        """`rows` of each rank that feeds samples of its own, in their order; tensor-parallel ranks share theirs."""
        if num_ranks() == 1:
            return [rows]
        places = torch.cat(gather_rows(torch.tensor([self.sampler.rank]))).tolist()
        everyone = gather_rows(rows)
        return [everyone[places.index(place)] for place in sorted(set(places))]

    def _in_order(self, parts: list[Tensor], used: Tensor) -> Tensor:
        """(U,) float32 in the order of the samples used: rank by rank if batches were cut, else ranks take turns."""
        if self._is_known_here_only:
            return torch.cat(parts)
        turns = torch.full((len(used) // self.sampler.num_replicas, self.sampler.num_replicas), math.nan)
        # Without a process group a rank knows its own only.
        for place, part in enumerate(parts, self.sampler.rank if len(parts) == 1 else 0):
            turns[:, place] = part
        return turns.flatten()

    def _by_sample(self, used: Tensor, numbers: Tensor) -> Tensor:
        """The same with what was told last of a sample that was used twice."""
        known = ~torch.isnan(numbers)
        last = torch.full((self.sampler.num_total,), math.nan)
        last[used[known]] = numbers[known]
        return last[used]
