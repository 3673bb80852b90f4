"""The Lightning callback that trains on the highest-scored part of every batch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.callbacks._lightning import Callback, change_train_batches, training_progress
from dynsel.callbacks.dynamic_selection import DynamicSelection, ScoreFunction
from dynsel.schedules import Schedule, as_keep_ratio, sample_count
from dynsel.selection import top_k

__all__ = ["BatchFraction", "cross_entropy"]


def cross_entropy(pl_module: pl.LightningModule, batch: Any) -> Tensor:
    """Per-sample loss of a classifier: the score of `BatchFraction` unless it is given another.

    Args:
        pl_module: Its `forward` takes the inputs and returns logits, (B, C) or (B, C, ...).
        batch: (inputs, targets), with targets of integers, (B,) or (B, ...).

    Returns:
        (B,) losses, each the mean over what a sample has of them.

    Raises:
        TypeError: If the batch is no such pair.
    """
    pair = tuple(batch) if isinstance(batch, (tuple, list)) else ()
    targets = pair[1] if len(pair) == 2 else None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.ndim == 0:
        raise TypeError(
            "the default score of BatchFraction is F.cross_entropy(module(inputs), targets) of batches (inputs, "
            f"integer targets), got {_described(batch)}; pass `score=`, a function of (module, batch) that returns "
            "(B,) numbers, higher = rather keep it"
        )
    losses = F.cross_entropy(pl_module(pair[0]), targets, reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


class BatchFraction(Callback):
    """Trains on a part of every batch: the samples with the highest score under the model as it is.

    Add it to the Trainer's callbacks, alone or with `DynamicSelection`, whose indices, loss weights, feedback and
    usage are then those of the part that stays. Each training batch is cut when it has arrived on the device, so
    that `training_step`, callbacks and `self.log` see the reduced one; validation, test and predict see all.
    Scoring costs a forward pass of the whole batch and saves the rest's forward and backward.

    The batch is cut along its first dimension: in every tensor and array with a row a sample, in every list or
    tuple with an entry a sample, within dicts, dataclasses, namedtuples and lists of unlike things. The batch size
    is the number of rows of its tensors, which must agree; without any, the length of its lists. The batch itself
    is always taken for a collection of such things, not of samples.

    The module is scored in eval mode, without gradient and with random draws of its own: those of the training
    (torch's, on the CPU and the module's GPU; not NumPy's and `random`'s) go on as if nobody had scored.

    Args:
        keep_ratio: Share of a batch that stays, in (0, 1], at least one sample; a number or a
            `dynsel.schedules.Schedule` over the progress of training. At 1.0 nothing is scored.
        score: Function of (module, batch) that returns (B,) numbers, higher = rather keep it, NaN = lowest. Called
            with the LightningModule itself, at the Trainer's precision. Default: the loss of a classifier.

    Raises:
        ValueError: If `keep_ratio` leaves (0, 1].
        TypeError: If `score` is no function.

    Reference:
        Jiang et al. (2019), "Accelerating Deep Learning by Focusing on the Biggest Losers", arXiv:1910.00762.
        Here the highest are kept; there each is kept with a probability that grows with its rank.

    Example:
        >>> from dynsel.callbacks import BatchFraction
        >>> callback = BatchFraction(0.5, score=lambda module, batch: module(batch["image"]).norm(dim=1))
        >>> # Trainer(callbacks=[callback]).fit(your_module, your_datamodule)
    """

    def __init__(self, keep_ratio: float | Schedule, score: ScoreFunction = cross_entropy) -> None:
        self.keep_ratio = as_keep_ratio(keep_ratio)
        if not callable(score):
            raise TypeError(f"`score` must be a function of (module, batch), got {score!r}")
        self.score = score
        self._undo: Callable[[], None] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(c, BatchFraction) for c in callbacks) > 1:
            raise ValueError("one Trainer takes one BatchFraction only; let one `score` weigh all that matters")
        if "dataloader_iter" in inspect.signature(pl_module.training_step).parameters:
            raise TypeError(
                "`training_step(dataloader_iter)` fetches its batches itself, out of BatchFraction's reach; let it "
                "take `batch` and `batch_idx`, or cut the batch there"
            )
        self._leave()
        self._undo = change_train_batches(trainer, lambda batch, i: self._reduced(trainer, pl_module, batch, i))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._leave()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # Lightning does not call `teardown` after an exception.
        self._leave()

    def _leave(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    # ---------------------------------------------------------------- a batch
    def _reduced(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> Any:
        ratio = self.keep_ratio(training_progress(trainer, trainer.current_epoch))
        kept, size = None, 0
        if batch is not None and ratio < 1:
            size = _batch_size(batch)
            count = sample_count(ratio, size)
            if count < size:
                draws = (trainer.current_epoch, batch_idx, trainer.global_rank)
                kept = top_k(self._scores(pl_module, batch, size, draws), count)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, DynamicSelection) and callback.controller.armed:
                callback.controller.keep(batch_idx, kept, size)
        return batch if kept is None else _Cut(kept, size, views=bool(_sizes(batch)[0]))(batch)

    def _scores(self, pl_module: pl.LightningModule, batch: Any, size: int, draws: tuple[int, ...]) -> Tensor:
        with torch.no_grad(), _evaluating(pl_module), _own_draws(pl_module.device, draws):
            scores = self.score(pl_module, batch)
        if not isinstance(scores, Tensor) or scores.shape != (size,):
            got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"`score` must return one number a sample, a tensor of shape ({size},), got {got}")
        return scores


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while; parts that were in eval mode before stay so."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _own_draws(device: torch.device, key: tuple[int, ...]) -> Iterator[None]:
    """Draws from torch's global generators that depend on the run's seed and `key`, and leave no trace."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        # Not the state of the training: what doesn't draw in between would be scored at random, but always alike.
        seed = hash((torch.initial_seed(), *key))
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        yield


# ---------------------------------------------------------------- what a batch is made of
def _batch_size(batch: Any) -> int:
    rows, lengths = _sizes(batch)
    sizes = rows or lengths
    if len(sizes) != 1:
        problem = f"the first dimensions {sorted(sizes)}" if sizes else "no tensor or list with a row a sample"
        raise ValueError(
            f"BatchFraction can't tell the batch size: {_described(batch)} holds {problem}; let the batch hold "
            "tensors with one row a sample only, and everything else as 0-dimensional ones or out of it"
        )
    return sizes.pop()


def _sizes(value: Any, *, inner: bool = False) -> tuple[set[int], set[int]]:
    """First dimensions of the tensors and arrays, and lengths of the lists that may be of samples."""
    if isinstance(value, (Tensor, np.ndarray)):
        return ({len(value)} if value.ndim else set()), set()
    if inner and _may_hold_samples(value):
        return set(), {len(value)}
    rows, lengths = set[int](), set[int]()
    for part in (_parts(value) or {}).values():
        for found, more in zip((rows, lengths), _sizes(part, inner=True), strict=True):
            found |= more
    return rows, lengths


def _may_hold_samples(value: Any) -> bool:
    """Whether it is a plain list or tuple, and not one of things as unlike as inputs and targets are."""
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return False
    return len({(part.dtype, part.ndim) if isinstance(part, Tensor) else None for part in value}) <= 1


class _Cut:
    """Takes the samples at `kept` out of a batch of `size` samples.

    Args:
        kept: (K,) int64, ascending.
        size: B.
        views: Whether a list may be of B views with B rows each, and not only of B samples.
    """

    def __init__(self, kept: Tensor, size: int, *, views: bool = True) -> None:
        self.kept, self.size, self.views = kept, size, views

    def __call__(self, value: Any, *, inner: bool = False) -> Any:
        if isinstance(value, Tensor):
            has_rows = value.ndim and len(value) == self.size
            return value.index_select(0, self.kept.to(value.device)) if has_rows else value
        if isinstance(value, np.ndarray):
            return value[self.kept.numpy()] if value.ndim and len(value) == self.size else value
        if inner and _may_hold_samples(value) and len(value) == self.size:
            return self._of_samples(value)
        parts = _parts(value)
        if not parts:
            return value
        return _rebuilt(value, {key: self(part, inner=True) for key, part in parts.items()})

    def _of_samples(self, value: Any) -> Any:
        # Where tensors told the batch size, a list may be of views; where lists did, they are of samples.
        if self.views and all(isinstance(part, Tensor) and part.shape[:1] == (self.size,) for part in value):
            raise ValueError(
                f"BatchFraction can't tell {self.size} samples from {self.size} views of {self.size} samples each in "
                "a list of the batch; stack samples to a tensor, put views into a dict"
            )
        return type(value)(value[i] for i in self.kept.tolist())


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a collection holds; None for everything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    return None


def _rebuilt(value: Any, parts: dict[Any, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        make = getattr(value, "_make", type(value))
        return make(parts.values())
    result = copy.copy(value)
    for key, part in parts.items():
        if isinstance(value, Mapping):
            result[key] = part
        else:
            object.__setattr__(result, key, part)  # dataclasses may be frozen
    return result


def _described(batch: Any) -> str:
    name = f"a batch of type {type(batch).__name__}"
    return f"{name} of {len(batch)}" if isinstance(batch, (list, tuple, Mapping)) else name
