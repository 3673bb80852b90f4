"""What a training shows and says of its selection: metrics for monitors and the progress bar, images, a few words."""

from __future__ import annotations

import math
import shlex
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import Subset

from dynsel.samplers.controller import SelectionController
from dynsel.samplers.epoch_record import EpochRecord
from dynsel.samplers.findings import suspects_in_words

__all__ = [
    "is_monitored",
    "log_epoch",
    "log_images",
    "say_if_features_lack",
    "say_if_labels_lack",
    "say_what_labels_look_like",
    "show_metrics",
]

PREFIX = "selection/"


def is_monitored(trainer: pl.Trainer) -> bool:
    """Whether another callback, such as EarlyStopping, goes by a metric of the selection.

    Args:
        trainer: Trainer whose callbacks are looked through for a `monitor` of that name.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(str(getattr(callback, "monitor", "")).startswith(PREFIX) for callback in callbacks)


def show_metrics(trainer: pl.Trainer, controller: SelectionController, *, prog_bar: bool) -> None:
    """Put what is known by now into the Trainer's metrics; every rank has the same numbers.

    Not by `log`: it needs a running loop and a hook that may log, and under DDP it advises to reduce what is equal.

    Args:
        trainer: Where `callback_metrics` and `progress_bar_metrics` are.
        controller: What decides the selections, all that was trained on counted.
        prog_bar: Whether the progress bar shows keep ratio and coverage, as "keep" and "seen".
    """
    books, usage, population = controller.books, controller.selector.usage, controller.selector.population
    record = books.record or (books.history[-1] if books.history else None)
    if record is None:
        return
    numbers = {
        "keep_ratio": record.keep_ratio,
        "coverage": population.coverage(usage),
        "usage_gini": population.gini(usage),
        "samples_trained": books.samples_trained,
    }
    # float64: more than 16 million samples are no whole number in float32.
    trainer.callback_metrics.update(
        {f"{PREFIX}{name}": torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    )
    if prog_bar:
        trainer.progress_bar_metrics.update({"keep": record.keep_ratio, "seen": numbers["coverage"]})


def log_epoch(
    trainer: pl.Trainer, controller: SelectionController, record: EpochRecord, *, images_every: int = 0
) -> None:
    """Give the Trainer's loggers what an epoch was, and now and then the images used most and least.

    Args:
        trainer: Where the loggers are.
        controller: What decides the selections.
        record: Record of the epoch that has ended; numbers that aren't known (NaN) are left out.
        images_every: Epochs after which images are given; 0 = never.
    """
    metrics = {f"{PREFIX}{k}": v for k, v in vars(record).items() if k != "epoch" and not math.isnan(v)}
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
    if images_every and (record.epoch + 1) % images_every == 0 and trainer.is_global_zero:
        data, pool = controller.sampler.dataset, controller.sampler.whole.pool
        part = data if pool is None else Subset(data, pool.tolist())
        log_images(trainer.loggers, part, controller.selector.usage, trainer.global_step)


def log_images(loggers: list[Any], dataset: Any, usage: Tensor, step: int) -> None:
    """Give TensorBoard and Weights & Biases the images used most and least, and a histogram of uses.

    Args:
        loggers: The Trainer's; those that take no images are left out.
        dataset: Map-style data set; unless its items are images with classes there is only the histogram.
        usage: (N,) uses of each sample.
        step: Optimiser steps so far.
    """
    takers = [logger for logger in loggers if _takes_images(logger)]
    if not takers:
        return
    from dynsel._lib.figures import as_pixels
    from dynsel._lib.sheets import image_sheet, is_image
    from dynsel.features._items import preserved_rng
    from dynsel.samplers.pictures import uses_figure

    counts = usage.numpy()
    with preserved_rng():  # the data set may augment
        images = {"uses": as_pixels(uses_figure(counts))}
        if len(counts) > 1 and is_image(dataset[0]):
            images["images"] = as_pixels(image_sheet(counts, dataset, title=f"uses after {step:,} steps"))
    for logger in takers:
        for name, pixels in images.items():
            if callable(getattr(logger, "log_image", None)):
                logger.log_image(f"{PREFIX}{name}", [pixels], step=step)
            elif name == "uses":
                logger.experiment.add_histogram(f"{PREFIX}{name}", counts, step)
            else:
                logger.experiment.add_image(f"{PREFIX}{name}", pixels, step, dataformats="HWC")


def _takes_images(logger: Any) -> bool:
    """Whether a logger is one of Weights & Biases, or of TensorBoard, by what it can do."""
    if callable(getattr(logger, "log_image", None)):
        return True
    writer = getattr(logger, "experiment", None)
    return all(callable(getattr(writer, name, None)) for name in ("add_image", "add_histogram"))


def say_if_labels_lack(controller: SelectionController) -> None:
    """At the start of a training: that its classes aren't known, if so.

    Args:
        controller: Controller bound to the train loader.
    """
    if controller.sources.lacks_labels:
        rank_zero_info(
            "DynamicSelection: no class labels found, so `class_balance` isn't logged; if there are classes, give "
            "them by `labels=`, or the data set an attribute `targets`."
        )


def say_if_features_lack(trainer: pl.Trainer, controller: SelectionController) -> None:
    """At the end of a training: that features never became complete, if so.

    Args:
        trainer: A mere trial (`fast_dev_run`) needs no such word.
        controller: What decides the selections.
    """
    if controller.sources.is_gathering and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        rank_zero_warn(
            f"DynamicSelection: training ended before {type(controller.selector).__name__} had the features of every "
            "sample, so its scores were never used. Train for more epochs, or give features by `features=FILE`."
        )


def say_what_labels_look_like(trainer: pl.Trainer, controller: SelectionController) -> None:
    """At the end of a training: how many labels look wrong, and how to see them. Nothing where that isn't known.

    Args:
        trainer: Its checkpoint callbacks know where the last checkpoint is.
        controller: What decides the selections, all that was trained on counted.
    """
    evidence = controller.epochs.evidence
    text = "" if evidence is None else suspects_in_words(evidence)
    if not text:
        return
    paths = [
        getattr(c, "last_model_path", "") or getattr(c, "best_model_path", "") for c in trainer.checkpoint_callbacks
    ]
    path = next(filter(None, paths), "CHECKPOINT")
    files = _config_files(trainer)
    data = shlex.join([word for file in files for word in ("--config", file)]) if files else "--data CLASS"
    rank_zero_info(
        f"dynsel: {text}. `selection.findings()` lists them; `dynsel findings {path} {data}` writes a page with images "
        "or texts"
    )


def _config_files(trainer: pl.Trainer) -> list[str]:
    """The YAML files of a training that a command line started; its callback that saves them knows."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if any(cls.__name__ == "SaveConfigCallback" for cls in type(callback).__mro__):
            return [str(file) for file in callback.config.get("config") or () if file is not None]
    return []
