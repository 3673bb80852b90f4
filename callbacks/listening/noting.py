"""What of a step is noted: losses, sums, means and what else makes one number of many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.losses import LOSSES, bound
from dynsel.callbacks.listening.parts import LossPart, NormPart, Part, SumPart
from dynsel.callbacks.listening.shapes import both
from dynsel.callbacks.listening.tags import Tags

__all__ = ["HIGHEST", "LOSSES", "NORMALIZERS", "NOTED", "denominator", "maps_samples", "order", "part_of"]

MEANS = frozenset(both("mean", "nanmean"))
SUMS = frozenset(both("sum", "nansum"))
COUNTS = frozenset(both("count_nonzero"))
POWERS = frozenset([*both("norm"), torch.linalg.norm, torch.linalg.vector_norm])
# Of one value of each sample: a sample alone gives its own.
HIGHEST = frozenset(both("topk"))
EXTREMES = frozenset(both("max", "min", "amax", "amin", "median", "nanmedian", "quantile", "logsumexp"))
# What losses written by hand start with, as timm's do.
NORMALIZERS: frozenset[Any] = frozenset({torch.nn.functional.log_softmax, torch.log_softmax, Tensor.log_softmax})

NOTED = frozenset(LOSSES) | MEANS | SUMS | COUNTS | POWERS | HIGHEST | EXTREMES | NORMALIZERS


def part_of(func: Any, args: Any, kwargs: Any, result: Tensor, tags: Tags | None, light: Tags | None) -> Part | None:
    """The part of a loss that a call may be; None if it can't be one.

    Args:
        func: Function of `NOTED` that was called.
        args: Its arguments.
        kwargs: Its arguments by name.
        result: What it returned, with gradient; of several tensors the first one.
        tags: Samples of the rows, where they are followed.
        light: The same, followed through views and what is done to targets only.
    """
    if func in LOSSES:
        return LossPart(func, bound(func, args, kwargs), result, tags, light)
    values = args[0] if args else kwargs.get("input")
    if not isinstance(values, Tensor) or not values.ndim or (result.ndim and func not in HIGHEST):
        return None
    if func in POWERS:
        power = order(values, args, kwargs)
        return None if power is None else NormPart(power, values, result, tags)
    if func in HIGHEST | EXTREMES:
        one_each = values.ndim == 1 and not any(isinstance(a, Tensor) and a.ndim for a in args[1:])
        return SumPart("extreme", values, result, tags, func.__name__) if one_each else None
    return None if func in COUNTS else SumPart("mean" if func in MEANS else "sum", values, result, tags)


def denominator(func: Any, args: Any, kwargs: Any, result: Tensor) -> tuple[Tensor, Tensor] | None:
    """Values and result of a sum or mean without gradient, which losses may be divided by; None for other calls."""
    values = args[0] if args else kwargs.get("input")
    if result.ndim or func not in SUMS | MEANS | COUNTS or not isinstance(values, Tensor) or not values.ndim:
        return None
    return (values != 0 if func in COUNTS else values), result


def order(values: Tensor, args: Any, kwargs: Any) -> float | None:
    """The order of a call of a norm; None if it is of another kind."""
    found = kwargs.get("ord", kwargs.get("p", args[1] if len(args) > 1 else None))
    if found in (None, "fro"):
        return 2.0
    # Of matrices numbers mean other norms in `torch.linalg.norm`.
    plain = isinstance(found, (int, float)) and 0 < found < float("inf") and values.ndim == 1
    return float(found) if plain else None


def maps_samples(tags: Tags, values: Any) -> bool:
    """Whether `torch.vmap` goes over the samples of one of these arguments."""
    for wrapped in _batched(values):
        inside = torch._C._functorch.get_unwrapped(wrapped)
        tag, dim = tags.of_same_memory(inside), torch._C._functorch.maybe_get_bdim(wrapped)
        if isinstance(tag, Tensor) and [d for d, n in enumerate(tag.shape) if n > 1] == [dim]:
            return True
    return False


def _batched(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor) and torch._C._functorch.is_batchedtensor(value):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _batched(value)
