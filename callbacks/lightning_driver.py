"""A Trainer as the selection's driver: all dealings with names of Lightning that its documentation doesn't promise.

Lightning reads the length of an epoch once, when it requests the train loader, and iterates the loader before the
epoch's first hook. A selection changes both, so this module: puts the selected loader where Lightning requests
the user's, sets the epoch's numbers anew once the selection is known, and tells the number of batches trained on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dynsel._lib.batches import cross_entropy
from dynsel.callbacks.lightning_names import has, package_of, refuse
from dynsel.callbacks.step_estimate import StepEstimate
from dynsel.samplers.drawing import told_length

__all__ = ["LightningDriver", "training_progress"]

Transform = Callable[[Any], Any]

# More epochs than these stand for a training without end.
MOST_EPOCHS = 10**6

# What Lightning doesn't document and this module uses, as seen from the Trainer and from a CombinedLoader.
NEEDED = (
    "fit_loop._combined_loader",
    "fit_loop._data_fetcher",
    "fit_loop._data_source.dataloader",
    "fit_loop.epoch_loop.batch_progress.current.processed",
    "fit_loop.epoch_loop.batch_progress.current.ready",
    "fit_loop.epoch_loop.batch_progress.current.started",
    "fit_loop.epoch_loop.batch_progress.is_last_batch",
    "fit_loop.epoch_loop.restarted_on_train_batch_end",
    "fit_loop.epoch_progress.increment_ready",
    "fit_loop.epoch_progress.increment_started",
    "fit_loop.max_batches",
    "fit_loop.restarted_mid_epoch",
    "fit_loop.setup_data",
    "limit_train_batches",
)
NEEDED_OF_LOADER = ("_iterator", "_mode", "flattened", "iterables", "limits")

PUBLIC_ROUTE = (
    "Use the public route with this Lightning version: `loader = selection.wrap(loader)` with "
    "dynsel.samplers.SelectionController, its `set_epoch(e)` called for the next epoch in `setup` and "
    "`on_train_epoch_end`, and Trainer(reload_dataloaders_every_n_epochs=1)."
)


class LightningDriver:
    """One fit of one Trainer; a `dynsel.samplers.Driver`.

    Args:
        trainer: The Trainer, in `setup` of stage "fit".
        per_sample_loss: Function of (module, batch) that returns (B,) losses, for selectors that score by a forward
            pass of their own; default: the cross entropy of (inputs, targets).
        count_flops: Whether floating-point operations are counted.

    Raises:
        RuntimeError: If this Lightning lacks a name that is needed.
    """

    announces_epochs = True

    def __init__(
        self,
        trainer: pl.Trainer,
        per_sample_loss: Callable[[Any, Any], Tensor] | None = None,
        *,
        count_flops: bool = False,
    ) -> None:
        self.trainer: Any = trainer
        self.count_flops = count_flops
        self._score = per_sample_loss or cross_entropy
        self._package = package_of(trainer)
        self._check()
        self._later: Callable[[], None] | None = None
        self._iterated = False
        self._loading = False
        self._estimate: StepEstimate | None = None
        # Of the loader that is selected from, among all train loaders.
        self._place = 0

    def _check(self) -> None:
        lacking = [path for path in NEEDED if not has(self.trainer, path)]
        lacking += [f"CombinedLoader.{name}" for name in NEEDED_OF_LOADER if not has(self.combined([]), name)]
        refuse(self.trainer, lacking, f"which DynamicSelection relies on. {PUBLIC_ROUTE}")

    # ---------------------------------------------------------------- putting the loader in
    def install(self, transform: Transform, plan: Callable[[], list[int] | None]) -> None:
        """Pass the user's train loader(s) through `transform` whenever Lightning requests them.

        Args:
            transform: Takes and returns what `train_dataloader` gives.
            plan: Optimiser steps of each epoch, known once there is a loader; None = Lightning's own estimate is right.
        """
        self._estimate = StepEstimate(self.trainer, plan)
        self._estimate.install()
        loop = self.trainer.fit_loop
        source, setup_data = loop._data_source, loop.setup_data
        request, interval = source.dataloader, getattr(self.trainer, "val_check_interval", None)

        def request_and_transform() -> Any:
            loaders = request()
            transformed = transform(loaders)
            self._lower_interval(loaders, transformed)
            return transformed

        source.dataloader = request_and_transform

        def setup_and_plan() -> None:
            before = loop._combined_loader
            self._loading = True
            try:
                setup_data()
            finally:
                self._loading = False
                if interval is not None:
                    self.trainer.val_check_interval = interval
            # Only a fresh request counted the epoch's batches anew. What it counted are the whole data set's, for
            # checks; whoever reckons with an epoch's length from here on is better off with that of the mean epoch.
            if loop._combined_loader is not before and loop._combined_loader is not None:
                steps = plan()
                if steps:
                    # A tuner trains on the whole data set, without our hooks.
                    self._until_first_batch(math.ceil(sum(steps) / len(steps)) * self.accumulate)

        loop.setup_data = setup_and_plan

    def _lower_interval(self, loaders: Any, transformed: Any) -> None:
        """While Lightning checks it, an interval of validation that only the loader's new length falls short of is
        that length: such an epoch validates at its end.
        """
        trainer = self.trainer
        # There is none where validation goes by the clock.
        interval, whole_run = getattr(trainer, "val_check_interval", None), trainer.check_val_every_n_epoch is None
        flat = [self.combined(each).flattened for each in (loaders, transformed)]
        if isinstance(interval, int) and not whole_run and len(flat[0]) == 1:
            full, now = (_limited(_length(each[0]), trainer.limit_train_batches) for each in flat)
            if now < interval <= full:
                trainer.val_check_interval = int(now)

    def uninstall(self) -> None:
        """Undo `install`; calling it again, or without it, does nothing."""
        loop = self.trainer.fit_loop
        if self._estimate is not None:
            self._estimate.uninstall()
        loop._data_source.__dict__.pop("dataloader", None)
        loop.__dict__.pop("setup_data", None)

    def combined(self, loaders: Any) -> Any:
        """What `train_dataloader` gave, as the CombinedLoader that Lightning would make of it.

        Args:
            loaders: A loader, a collection of them, or a CombinedLoader, which is copied.
        """
        kind = import_module(f"{self._package.__name__}.utilities").CombinedLoader
        # A copy, for the user's own must not hold our loader afterwards.
        return copy.copy(loaders) if isinstance(loaders, kind) else kind(loaders, "max_size_cycle")

    def with_one_changed(self, loaders: Any, which: Callable[[Any, int], int], change: Transform) -> Any:
        """What `train_dataloader` gave, as a CombinedLoader in which one loader is another.

        Args:
            loaders: One loader, or any collection of them.
            which: Tells the place of that loader, given the collection and the number of loaders in it.
            change: Takes it and returns the other.
        """
        combined = self.combined(loaders)
        flat = list(combined.flattened)
        self._place = which(combined.iterables, len(flat))
        flat[self._place] = change(flat[self._place])
        combined.flattened = flat
        return combined

    # ---------------------------------------------------------------- an epoch's numbers
    def epoch_decided(self) -> None:
        """Set what Lightning keeps about the length of the epoch, now that its selection is known."""
        loop, trainer = self.trainer.fit_loop, self.trainer
        combined = loop._combined_loader
        combined.limits = [_limited(_length(loader), trainer.limit_train_batches) for loader in combined.flattened]
        if self._iterated:
            # Lightning itself makes a new iterator when an epoch follows another. Two would start the workers of
            # loaders beside ours twice.
            combined._iterator.limits = combined.limits
        else:
            # Ours starts lazily, so the iterator thrown away here has read nothing.
            iter(loop._data_fetcher)
            self._iterated = True
        loop.max_batches = _length(combined)
        self._later = None
        self._refresh_validation()
        self._start_next_epoch_at_its_first_batch()

    def _refresh_validation(self) -> None:
        trainer = self.trainer
        if getattr(trainer, "_val_check_time_interval", None) is not None:
            return  # by the clock; there is no `val_check_interval` then
        batches, interval = trainer.fit_loop.max_batches, trainer.val_check_interval
        if isinstance(interval, int):
            # An epoch shorter than the interval validates at its end instead of never.
            whole_run = trainer.check_val_every_n_epoch is None
            trainer.val_check_batch = interval if whole_run else min(interval, batches)
        elif batches != math.inf:
            trainer.val_check_batch = max(1, int(batches * interval))

    def _start_next_epoch_at_its_first_batch(self) -> None:
        """Resumed from a checkpoint of an epoch's last batch, Lightning goes straight on to the next epoch, and
        compares that epoch's length with the batches of the finished one: a longer one would begin in its middle.
        So show it no more batches than were finished until it asks for the first.

        It also begins that epoch without counting it, and the checkpoints of such an epoch then look like none that
        it knows: resumed from one of them, the run would be an epoch too long. So count it.
        """
        loop = self.trainer.fit_loop
        if self._resumed_after_last_batch():
            self._until_first_batch(min(loop.max_batches, loop.epoch_loop.batch_progress.current.ready))
            if loop.restarted_mid_epoch:
                loop.epoch_progress.increment_ready()
                loop.epoch_progress.increment_started()

    def _until_first_batch(self, batches: float) -> None:
        loop = self.trainer.fit_loop
        true_length, loop.max_batches = loop.max_batches, batches

        def later() -> None:
            loop.max_batches = true_length

        self._later = later

    def _resumed_after_last_batch(self) -> bool:
        epoch_loop = self.trainer.fit_loop.epoch_loop
        return bool(epoch_loop.restarted_on_train_batch_end and epoch_loop.batch_progress.is_last_batch)

    def before_first_batch(self) -> None:
        """To be called when the loader really starts."""
        if self._later is not None:
            self._later()
            self._later = None

    # ---------------------------------------------------------------- where and how it trains
    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.trainer.strategy.root_device
        return device

    def precision(self) -> AbstractContextManager[Any]:
        """Entered around forward passes: the Trainer's precision."""
        context: AbstractContextManager[Any] = self.trainer.precision_plugin.train_step_context()
        return context

    def to_device(self, batch: Any) -> Any:
        """A batch, moved to `device` by the Trainer's strategy, transfer hooks of the user included.

        Args:
            batch: Whatever the loader gives.
        """
        return self.trainer.strategy.batch_to_device(batch)

    def per_sample_loss(self, module: Any, batch: Any) -> Tensor:
        """Losses of a network on a batch, by the user's `per_sample_loss=` or by cross entropy.

        Args:
            module: Network that scores.
            batch: A batch of B samples on the device.

        Returns:
            (B,) float.
        """
        return self._score(module, batch)

    # ---------------------------------------------------------------- progress
    @property
    def too_early(self) -> bool:
        """Whether Lightning is requesting the loader. Versions to come set the sampler's epoch there, possibly from
        `configure_optimizers` and before a checkpoint's epoch is restored.
        """
        return self._loading

    @property
    def overfits(self) -> bool:
        """Whether `overfit_batches` is set, for which Lightning replaces the sampler."""
        return bool(self.trainer.overfit_batches)

    def batches_trained(self, delivered: int) -> int:
        """Batches of the current epoch that training really finished.

        The loader may have delivered one whose step failed or was skipped; Lightning's counters may still be
        those of the epoch before.

        Args:
            delivered: Batches that the loader delivered.
        """
        current = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return int(min(delivered, current.started, current.processed))

    def progress(self, epoch: float, ahead: int = 0) -> float:
        """Share of training done, in [0, 1]: by epochs or by steps, whichever ends first.

        Args:
            epoch: Epochs done, the last of them in part perhaps.
            ahead: Batches from now till then, which count as steps.
        """
        return training_progress(self.trainer, epoch, steps=self.optimizer_steps(ahead) if ahead else 0)

    def epoch_length(self, batches: int) -> int:
        """Batches that training takes of an epoch, with `limit_train_batches`.

        Args:
            batches: Batches that the loader has in the epoch.
        """
        return int(_limited(batches, self.trainer.limit_train_batches))

    @property
    def accumulate(self) -> int:
        """Batches an optimiser step."""
        steps: int = self.trainer.accumulate_grad_batches
        return steps

    def loss_scale(self) -> float:
        """What a loss that is about to be differentiated must be multiplied by to be `training_step`'s own."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        batches = self.accumulate if self.trainer.lightning_module.automatic_optimization else 1
        return batches / (1.0 if scaler is None else scaler.get_scale())

    def optimizer_steps(self, batches: int) -> int:
        """Optimiser steps of an epoch, with `limit_train_batches` and gradient accumulation.

        Args:
            batches: Batches that the loader has in the epoch.
        """
        return math.ceil(self.epoch_length(batches) / self.accumulate)

    @property
    def max_epochs(self) -> int | None:
        """Number of epochs of the training; None where that has no end, or one that nobody means."""
        epochs = self.trainer.max_epochs
        return epochs if epochs is not None and 0 <= epochs <= MOST_EPOCHS else None

    @property
    def is_endless(self) -> bool:
        """Whether an epoch of the train loaders has no end that is known."""
        return _length(self.trainer.fit_loop._combined_loader) == math.inf

    def fit_steps(self, batches: int) -> int:
        """Optimiser steps of an epoch in which the other train loaders, if there are any, take part as well.

        Args:
            batches: Batches that the loader which is selected from has in the epoch.
        """
        combined = self.trainer.fit_loop._combined_loader
        lengths = [_limited(_length(loader), self.trainer.limit_train_batches) for loader in combined.flattened]
        lengths[self._place] = self.epoch_length(batches)
        longest = min(lengths) if combined._mode == "min_size" else max(lengths)
        return math.ceil(longest / self.accumulate)

    @property
    def holds_gradients(self) -> bool:
        """Whether batches were added up that no optimiser step has used yet."""
        loop = self.trainer.fit_loop.epoch_loop
        if not self.trainer.lightning_module.automatic_optimization or self.trainer.is_last_batch:
            return False
        return bool(loop.batch_progress.current.ready % self.accumulate)


def training_progress(trainer: pl.Trainer, epoch: float, steps: int = 0) -> float:
    """Share of training done, in [0, 1]: by epochs or by steps, whichever ends first; 0 if training has no end.

    Args:
        trainer: Trainer with `max_epochs` and `max_steps`.
        epoch: Epochs done, the last of them in part perhaps.
        steps: Optimiser steps besides those taken so far.
    """
    by_epochs = epoch / trainer.max_epochs if trainer.max_epochs not in (None, -1, 0) else 0.0
    by_steps = (trainer.global_step + steps) / trainer.max_steps if trainer.max_steps > 0 else 0.0
    return float(min(1.0, max(by_epochs, by_steps)))


def _length(loader: Any) -> float:
    told = told_length(loader)
    return math.inf if told is None else told


def _limited(batches: float, limit: float) -> float:
    if isinstance(limit, int):
        return min(batches, limit)
    return batches if batches == math.inf else max(1, int(batches * limit))
