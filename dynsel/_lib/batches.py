"""What a batch is made of, and how samples are scored by a forward pass without leaving a trace.

A batch is whatever the user's loader gives: tensors, dicts, dataclasses, lists of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Cut", "batch_size", "cross_entropy", "cut", "described", "evaluating", "own_draws", "parts_of", "scored"]


def cross_entropy(module: nn.Module, batch: Any) -> Tensor:
    """Per-sample loss of a classifier: what candidates are scored by unless told otherwise.

    Args:
        module: Network whose `forward` takes the inputs and returns logits, (B, C) or (B, C, ...).
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
            "the default score is F.cross_entropy(module(inputs), targets) of batches (inputs, "
            f"integer targets), got {described(batch)}; pass `score=` (`per_sample_loss=` of "
            "DynamicSelection), a function of (module, batch) that returns (B,) numbers, higher = rather keep it"
        )
    losses = F.cross_entropy(module(pair[0]), targets, reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def scored(
    score: Callable[[Any, Any], Tensor], module: nn.Module, batch: Any, size: int, *, key: tuple[int, ...]
) -> Tensor:
    """Scores of a batch by a forward pass in eval mode, without gradient and with random draws of its own.

    Args:
        score: Function of (module, batch).
        module: Network that scores; its modes are afterwards as they were.
        batch: Batch of whatever form, on the module's device.
        size: Number B of samples in the batch.
        key: What the draws depend on besides the run's seed.

    Returns:
        (B,), on the module's device.

    Raises:
        ValueError: If `score` returns anything but one number per sample.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), evaluating(module), own_draws(device, key):
        scores = score(module, batch)
    if not isinstance(scores, Tensor) or scores.shape != (size,):
        got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"`score` must return one number per sample, a tensor of shape ({size},), got {got}")
    return scores


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while; parts that were in eval mode before stay so, also after an error.

    Args:
        module: Network whose parts, itself among them, are switched. No hook or override of `train` is called.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def own_draws(device: torch.device, key: tuple[int, ...], seed: int | None = None) -> Iterator[None]:
    """Draws from torch's global generators that depend on a seed and a key alone, and leave no trace.

    Two calls with the same key draw the same numbers; afterwards the generators are where they were before.

    Args:
        device: Device that draws; besides the CPU's generator a GPU's own is set and put back.
        key: Whole numbers that tell these draws from others, such as (epoch, batch).
        seed: Seed besides the key; None = that of the run, `torch.initial_seed()`.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        # Not the state of the training: what doesn't draw in between would be scored at random, but always alike.
        seed = hash((torch.initial_seed() if seed is None else seed, *key))
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        yield


# ---------------------------------------------------------------- what a batch is made of
def batch_size(batch: Any) -> int:
    """Number of samples in a batch of any form: the first dimension that all of its tensors and arrays share.

    Args:
        batch: Whatever the loader gives: tensors, dicts, dataclasses, lists, nested. Tensors without dimensions don't
            count; where there is no tensor at all, the lengths of its lists do.

    Raises:
        ValueError: If they share none, or there is neither a tensor nor a list with an entry per sample.
    """
    rows, lengths = _sizes(batch)
    sizes = rows or lengths
    if len(sizes) != 1:
        problem = f"the first dimensions {sorted(sizes)}" if sizes else "no tensor or list with a row per sample"
        raise ValueError(
            f"can't tell the batch size: {described(batch)} holds {problem}; let the batch hold "
            "tensors with one row per sample only, and everything else as 0-dimensional ones or out of it"
        )
    return sizes.pop()


def _sizes(value: Any, *, inner: bool = False) -> tuple[set[int], set[int]]:
    """First dimensions of the tensors and arrays, and lengths of the lists that may be of samples."""
    if isinstance(value, (Tensor, np.ndarray)):
        return ({len(value)} if value.ndim else set()), set()
    if inner and _may_hold_samples(value):
        return set(), {len(value)}
    rows, lengths = set[int](), set[int]()
    for part in (parts_of(value) or {}).values():
        for found, more in zip((rows, lengths), _sizes(part, inner=True), strict=True):
            found |= more
    return rows, lengths


def _may_hold_samples(value: Any) -> bool:
    """Whether it is a plain list or tuple, and not one of things as unlike as inputs and targets are."""
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return False
    return len({(part.dtype, part.ndim) if isinstance(part, Tensor) else None for part in value}) <= 1


def cut(batch: Any, kept: Tensor, size: int) -> Any:
    """The batch with some of its samples only, in the same form.

    Args:
        batch: Whatever the loader gives: tensors, dicts, dataclasses, lists, nested.
        kept: (K,) int64, ascending positions of the samples that stay, in [0, size).
        size: Number B of samples in the batch. Tensors and lists of this length are cut, everything else stays whole.

    Raises:
        ValueError: If a list of B tensors with B rows each may be of samples as well as of views.
    """
    # Where tensors tell the batch size, a list may be of views.
    return Cut(kept, size, views=bool(_sizes(batch)[0]))(batch)


class Cut:
    """Takes the samples at `kept` out of a batch of `size` samples.

    Args:
        kept: (K,) int64 positions in the batch, ascending.
        size: Number B of samples in the batch.
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
        parts = parts_of(value)
        if not parts:
            return value
        return _rebuilt(value, {key: self(part, inner=True) for key, part in parts.items()})

    def _of_samples(self, value: Any) -> Any:
        # Where tensors told the batch size, a list may be of views; where lists did, they are of samples.
        if self.views and all(isinstance(part, Tensor) and part.shape[:1] == (self.size,) for part in value):
            raise ValueError(
                f"can't tell {self.size} samples from {self.size} views of {self.size} samples each in "
                "a list of the batch; stack samples to a tensor, put views into a dict"
            )
        return type(value)(value[i] for i in self.kept.tolist())


def parts_of(value: Any) -> dict[Any, Any] | None:
    """What a collection holds, by key, field or position.

    Args:
        value: Any object. Mappings, dataclasses, lists and tuples are collections.

    Returns:
        The parts; None for everything else, tensors and texts among them.
    """
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


def described(batch: Any) -> str:
    """The batch in words, for messages, as in "a batch of type list of 2".

    Args:
        batch: Any object; the length is told of lists, tuples and mappings.
    """
    name = f"a batch of type {type(batch).__name__}"
    return f"{name} of {len(batch)}" if isinstance(batch, (list, tuple, Mapping)) else name
