"""Callbacks of a comparison's runs: what counts steps, looks for the metric, and measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch

from dynsel.compare.energy import EnergyMeter
from dynsel.compare.options import refuse_callbacks
from dynsel.compare.record import CurvePoint
from dynsel.samplers.controller import SelectionController

__all__ = ["Counted", "Meter", "MetricCheck", "Progress", "StepCounter"]

Progress = Callable[[CurvePoint], None]


def _check_logged(metric: str, trainer: pl.Trainer) -> None:
    if metric not in trainer.callback_metrics:
        logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
        raise ValueError(f"no metric {metric!r} in validation; logged: {logged}; choose one by --metric")


class Counted(Exception):
    """What was asked is known; training isn't wanted."""


class StepCounter(pl.Callback):
    """Counts the optimiser steps of a training and ends it by `Counted` before the first.

    Attributes:
        steps: Their number once known; infinite where it can't be.
    """

    steps: float = math.inf

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse callbacks of the model with which nothing is compared.

        Raises:
            ValueError: If there are such.
        """
        # By now those that the model itself brings are there as well.
        refuse_callbacks(trainer.callbacks, "the model's callbacks")  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count.

        Raises:
            Counted: Always.
        """
        self.steps = trainer.estimated_stepping_batches
        raise Counted


class MetricCheck(pl.Callback):
    """Ends a training by `Counted` at its first validation, if that logs the metric.

    Args:
        metric: Name of the logged validation metric.
    """

    def __init__(self, metric: str) -> None:
        self.metric, self.batches = metric, 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look for the metric.

        Raises:
            Counted: If it is logged.
            ValueError: If not, with the names of those that are.
        """
        _check_logged(self.metric, trainer)
        raise Counted

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """See whether validation came.

        Raises:
            ValueError: If it didn't where it should have.
        """
        self.batches += 1
        if self.batches > 2 * 4:  # validation comes after each four
            raise ValueError("the training has no validation, whose metric is compared; give it a validation set")


class Meter(pl.Callback):
    """Measures time and energy of training without validation, and notes the metric at each validation.

    Args:
        metric: Name of the logged validation metric.
        progress: Function that is called with each evaluation.
        energy: Whether to measure energy.

    Attributes:
        controller: Of the run; set before it starts.
        energy: What measures energy, if that was asked for.
        curve: What was evaluated so far.
        seconds: Of training and selection.
        evaluation_seconds: Of validation.
    """

    controller: SelectionController

    def __init__(self, metric: str, progress: Progress, *, energy: bool = False) -> None:
        self.metric, self.progress, self.wants_energy = metric, progress, energy
        self.energy: EnergyMeter | None = None
        self.curve: list[CurvePoint] = []
        self.seconds = self.evaluation_seconds = 0.0
        self._since: float | None = None
        self._evaluating_since = 0.0

    # From `setup` on, for features may be prepared before the first epoch; the data are loaded by then.
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the clock."""
        if stage == "fit":
            if self.wants_energy:
                self.energy = EnergyMeter(trainer.strategy.root_device)
            self._start()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock of training."""
        self._stop()
        self._evaluating_since = _now()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the metric, and go on with the clock of training.

        Raises:
            ValueError: If the metric isn't logged.
        """
        self.evaluation_seconds += _now() - self._evaluating_since
        _check_logged(self.metric, trainer)
        self.controller.flush()
        value = float(trainer.callback_metrics[self.metric])
        point = CurvePoint(trainer.global_step, self.controller.books.samples_trained, self.seconds, value)
        self.curve.append(point)
        self.progress(point)
        if trainer.state.fn == "fit":
            self._start()

    def _start(self) -> None:
        if self.energy is not None:
            self.energy.start()
        self._since = _now()

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += _now() - self._since
            self._since = None
            if self.energy is not None:
                self.energy.stop()


def _now() -> float:
    """The time once the accelerator has done what it was given."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()
