"""The Lightning callback that trains on the highest-scored part of every batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dynsel._lib.batches import batch_size, cross_entropy, cut, scored
from dynsel.callbacks.dynamic_selection import DynamicSelection, ScoreFunction
from dynsel.callbacks.lightning_driver import training_progress
from dynsel.callbacks.lightning_names import Callback
from dynsel.callbacks.train_batches import change_train_batches
from dynsel.samplers.collation import Where, read_numbers
from dynsel.schedules import Schedule, as_keep_ratio, sample_count
from dynsel.selection import top_k
from dynsel.selectors import JEST, CandidateSelector, selector_class

__all__ = ["BatchFraction", "cross_entropy"]


class BatchFraction(Callback):
    """Trains on a part of every batch: the samples with the highest score under the model as it is.

    Add it to the Trainer's callbacks: alone, then with any loader, streams (`IterableDataset`) among them; or with
    `DynamicSelection`, whose indices, loss weights, feedback and usage are then those of the part that stays. Each
    training batch is cut when it has arrived on the device, so that `training_step`, callbacks and `self.log` see the
    reduced one; validation, test and predict see all. Scoring costs a forward pass of the whole batch and saves the
    rest's forward and backward; beside `DynamicSelection` it is counted in its records, as time, samples scored and
    operations of selection. While that one captures features from the model for a selector that needs them, batches
    stay whole.

    The batch is cut along its first dimension: in every tensor and array with a row per sample, in every list or
    tuple with an entry per sample, within dicts, dataclasses, namedtuples and lists of unlike things. The batch size
    is the number of rows of its tensors, which must agree; without any, the length of its lists. The batch itself
    is always taken for a collection of such things, not of samples.

    The module is scored in eval mode, without gradient and with random draws of its own: those of the training
    (torch's, on the CPU and the module's GPU; not NumPy's and `random`'s) go on as if nobody had scored.

    Args:
        keep_ratio: Share of a batch that stays, in (0, 1], at least one sample; a number or a
            `dynsel.schedules.Schedule` over the progress of training. At 1.0 nothing is scored.
        score: Function of (module, batch) that returns (B,) numbers, higher = rather keep it, NaN = lowest. Called
            with the LightningModule itself, at the Trainer's precision. Default: the loss of a classifier.
        selector: What chooses by these scores instead of taking the highest: `SelectiveBackprop` or `JEST`, which need
            no data set with indices here. Of B samples loaded ρ B stay, as with their `shrink=True`.
        reference: Where a batch holds the losses of its samples under a reference model, which `JEST` subtracts: a
            key, attribute or position of it, or a function of it that returns (B,) numbers.

    Raises:
        ValueError: If `keep_ratio` leaves (0, 1], or `reference` and `selector` don't go together.
        TypeError: If `score` is no function, or `selector` doesn't choose by losses.

    Reference:
        Jiang et al. (2019), "Accelerating Deep Learning by Focusing on the Biggest Losers", arXiv:1910.00762.
        Here the highest are kept; there each is kept with a probability that grows with its rank.

    Example:
        >>> from dynsel.callbacks import BatchFraction
        >>> callback = BatchFraction(0.5, score=lambda module, batch: module(batch["image"]).norm(dim=1))
        >>> # Trainer(callbacks=[callback]).fit(your_module, your_datamodule)
    """

    def __init__(
        self,
        keep_ratio: float | Schedule,
        score: ScoreFunction = cross_entropy,
        *,
        selector: CandidateSelector | str | None = None,
        reference: Where | None = None,
    ) -> None:
        self.keep_ratio = as_keep_ratio(keep_ratio)
        if not callable(score):
            raise TypeError(f"`score` must be a function of (module, batch), got {score!r}")
        self.score, self.reference = score, reference
        chooser: Any = selector_class(selector)() if isinstance(selector, str) else selector
        if chooser is not None and not isinstance(chooser, CandidateSelector):
            raise TypeError(
                "`selector` must choose by the losses of a batch's samples, as SelectiveBackprop and JEST do, got "
                f"{type(chooser).__name__}"
            )
        self.selector: CandidateSelector | None = chooser
        if isinstance(self.selector, JEST) != (reference is not None):
            raise ValueError(
                "`reference` is where batches hold the reference losses that JEST subtracts: give both or neither, got "
                f"selector={selector!r} and reference={reference!r}"
            )
        self._undo: Callable[[], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy has changed no Trainer.
        return {**vars(self), "_undo": None}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to cut the batches of this fit; other stages are left alone.

        Raises:
            TypeError: If `training_step` fetches its batches itself.
            ValueError: If another callback cuts batches already.
            RuntimeError: If this Lightning lacks a name that is needed.
        """
        if stage != "fit":
            return
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(c, DynamicSelection) and c.cuts_batches for c in callbacks):
            raise ValueError(
                "the selector of DynamicSelection chooses inside the batch already; leave BatchFraction out"
            )
        if sum(isinstance(c, BatchFraction) for c in callbacks) > 1:
            raise ValueError("one Trainer takes one BatchFraction only; let one `score` weigh all that matters")
        self._leave()
        self._undo = change_train_batches(
            trainer, pl_module, lambda batch, i: self._reduced(trainer, pl_module, batch, i), by="BatchFraction"
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let batches through as they are again."""
        self._leave()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let batches through as they are again: Lightning calls no `teardown` after an exception."""
        # Lightning does not call `teardown` after an exception.
        self._leave()

    def _leave(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    # ---------------------------------------------------------------- a batch
    def _reduced(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> Any:
        ratio = self.keep_ratio(training_progress(trainer, trainer.current_epoch))
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        selections = [c for c in callbacks if isinstance(c, DynamicSelection) and c.controller.epochs.phase.selects]
        # A selector that waits for the features of every sample would wait for ever for those of samples cut away.
        whole = any(selection.controller.sources.is_gathering for selection in selections)
        kept, size = None, 0
        if batch is not None and ratio < 1 and not whole:
            size = batch_size(batch)
            count = sample_count(ratio, size)
            if count < size:
                draws = (trainer.current_epoch, batch_idx, trainer.global_rank)
                start = time.perf_counter()
                with ExitStack() as stack:
                    for selection in selections:
                        stack.enter_context(selection.flops.scoring(pl_module, size))
                    scores = scored(self.score, pl_module, batch, size, key=draws)
                kept = self._chosen(scores, batch, count, draws)
                seconds = time.perf_counter() - start
                for selection in selections:
                    controller = selection.controller
                    controller.books.add_scored(size * controller.sampler.num_replicas, seconds)
        for selection in selections:
            selection.controller.keep(batch_idx, kept, size)
        return batch if kept is None else cut(batch, kept, size)

    def _chosen(self, scores: Tensor, batch: Any, count: int, draws: tuple[int, ...]) -> Tensor:
        """(count,) int64 positions in the batch, ascending."""
        selector = self.selector
        if selector is None:
            return top_k(scores, count)
        if self.reference is not None:
            scores = scores.detach().cpu().double() - read_numbers(self.reference, batch, "reference").double()
        seed = torch.initial_seed() if selector.seed is None else selector.seed
        generator = torch.Generator().manual_seed(hash((seed, *draws)))
        if self.reference is None:
            return selector.keep(torch.arange(len(scores)), scores, count, generator)
        return selector.keep_scored(scores, count, generator)
