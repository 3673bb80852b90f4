"""What of a Trainer's options and callbacks a comparison follows, leaves out, or refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    DeviceStatsMonitor,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ProgressBar,
    StochasticWeightAveraging,
    Timer,
)

from dynsel.callbacks.cli import as_list

__all__ = ["SILENT", "UNWANTED", "check_trainer", "left_out", "named_devices", "refuse_callbacks"]

# A comparison measures; it keeps no logs or checkpoints, and talks itself.
SILENT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "devices": 1,
}
# They would end a run before the others.
ENDING = (EarlyStopping, Timer)
# They would write, draw, need a logger, or end a run.
UNWANTED = (Checkpoint, ProgressBar, LearningRateMonitor, DeviceStatsMonitor, *ENDING)
# With these no result would be what the training gives, and the way out.
REFUSED = {
    StochasticWeightAveraging: "averages up to the last epoch, which a comparison's runs have no number of; take "
    "Lightning's WeightAveraging or EMAWeightAveraging",
    GradientAccumulationScheduler: "changes the batches of an optimiser step, of which all runs take equally many; set "
    "`trainer.accumulate_grad_batches`",
    BatchSizeFinder: "would give each run a batch size of its own; find it once, and set it in the configuration",
    LearningRateFinder: "would give each run a learning rate of its own; find it once, and set it in the configuration",
}


def check_trainer(options: Any) -> None:
    """Refuse options with which nothing is compared.

    Args:
        options: The Trainer's, as a configuration has them.

    Raises:
        ValueError: If there are such, with the way out.
    """
    for name, refused, why in (
        (
            "overfit_batches",
            options.overfit_batches != 0,
            "it switches selection off; set `trainer.limit_train_batches`",
        ),
        ("fast_dev_run", bool(options.fast_dev_run), "one step compares nothing; set `trainer.max_steps`"),
        ("limit_val_batches", options.limit_val_batches == 0, "results are those of validation"),
        ("limit_train_batches", options.limit_train_batches == 0, "nothing would be trained"),
        ("barebones", bool(options.barebones), "results are those that validation logs"),
        ("max_steps", options.max_steps == 0, "it must be at least 1, or -1 for no end"),
    ):
        if refused:
            raise ValueError(f"`trainer.{name}` must not be {options[name]!r}: {why}")


def refuse_callbacks(callbacks: Sequence[pl.Callback], where: str) -> None:
    """Refuse callbacks with which no result would be what the training gives.

    Args:
        callbacks: A Trainer's.
        where: Where they come from, for the message.

    Raises:
        ValueError: If there are such, with the way out.
    """
    for callback in callbacks:
        for refused, why in REFUSED.items():
            if isinstance(callback, refused):
                raise ValueError(f"{where} must be without {type(callback).__name__}: it {why}")


def left_out(options: Any) -> list[str]:
    """What of the configuration would change results and isn't followed by a comparison.

    Args:
        options: The Trainer's, with its callbacks made.

    Returns:
        Each in a sentence.
    """
    ending = [type(c).__name__ for c in as_list(options.callbacks) if isinstance(c, ENDING)]
    ending += ["`trainer.max_time`"] * (options.max_time is not None)
    found = []
    if ending:
        found.append(f"without {' and '.join(ending)}: every run takes the same number of optimiser steps")
    if options.devices == "auto":
        several = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.device_count() > 1
    else:
        several = options.devices not in (1, "1") and len(named_devices(options.devices)) != 1
    if several or options.num_nodes != 1:
        found.append(f"on one device: `trainer.devices` is {options.devices}, `trainer.num_nodes` {options.num_nodes}")
    return found


def named_devices(devices: Any) -> list[int]:
    """The devices that a configuration names by their numbers; none where it gives how many.

    Args:
        devices: `trainer.devices`.
    """
    if isinstance(devices, str) and "," in devices:
        return [int(number) for number in devices.split(",") if number.strip()]
    return devices if isinstance(devices, list) else []
