"""From rows to samples: what stays of the tags when the pattern is known, and sums over the rows of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

from dynsel.callbacks.listening.tags import Tag

__all__ = ["Way", "counted", "fold", "rows_by", "spread", "way_of"]


class Way(Enum):
    """How the rows of a value lie. All but the last hold for batches of other sizes as well."""

    FIRST = "samples first"
    SECOND = "samples in the second dimension"
    BLOCKS = "the rows of a sample together"
    CYCLES = "all samples in turn"
    TARGETS = "as the targets' rows"
    TAGS = "followed through each operation"


def way_of(tag: Tag, shape: Sequence[int], size: int) -> Way:
    """The pattern of a tag, B ≥ 2.

    Args:
        tag: Of values of this shape.
        shape: Shape of the values of the loss.
        size: Number of samples in the batch, B.
    """
    if isinstance(tag, int):
        return Way.TAGS
    numbers = torch.arange(size)
    varying = [d for d, n in enumerate(tag.shape) if n > 1]
    if len(varying) != 1 or varying[0] > 1:
        return Way.TAGS
    found, dim = tag.flatten(), varying[0]
    if torch.equal(found, numbers):
        return (Way.FIRST, Way.SECOND)[dim]
    if dim == 0 and len(found) % size == 0:
        if torch.equal(found, numbers.repeat_interleave(len(found) // size)):
            return Way.BLOCKS
        if torch.equal(found, numbers.repeat(len(found) // size)):
            return Way.CYCLES
    return Way.TAGS


def rows_by(way: Way, shape: Sequence[int], size: int) -> Tag | None:
    """The tag by the pattern; None where values of this shape don't have it.

    Args:
        way: All but `Way.TARGETS` and `Way.TAGS`.
        shape: Shape of the values of the loss.
        size: Number of samples in the batch, B.
    """
    dim = 1 if way is Way.SECOND else 0
    if len(shape) <= dim:
        return None
    length, numbers = shape[dim], torch.arange(size)
    if way in (Way.FIRST, Way.SECOND):
        rows = numbers if length == size else None
    elif length % size or not length:
        rows = None
    else:
        rows = numbers.repeat_interleave(length // size) if way is Way.BLOCKS else numbers.repeat(length // size)
    return None if rows is None else rows.view(*[1] * dim, -1, *[1] * (len(shape) - dim - 1))


def fold(values: Tensor, tag: Tag, size: int, *, first: bool = False) -> Tensor:
    """Sum over the rows of each sample.

    Args:
        values: Of any shape.
        tag: Theirs.
        size: Number of samples in the batch, B.
        first: Whether it is known that the first dimension is that of the samples.

    Returns:
        (B,) float32.
    """
    if first:
        return values.float() if values.ndim == 1 else values.reshape(size, -1).float().sum(1)
    if isinstance(tag, int):
        return _zeros(size, values).index_fill(0, _at(tag, values), 1.0) * values.float().sum()
    over = [d for d, n in enumerate(tag.shape) if n == 1 and values.shape[d] > 1]
    values = (values.float().sum(over, keepdim=True) if over else values.float()).reshape(-1)
    # What belongs to no sample goes to a place of its own.
    place = tag.flatten().remainder(size + 1).to(values.device, non_blocking=True)
    return _zeros(size + 1, values).index_add(0, place, values)[:size]


def _zeros(size: int, like: Tensor) -> Tensor:
    # In a step of "bf16-true" or "64-true" torch's default is another dtype.
    return torch.zeros(size, device=like.device, dtype=torch.float32)


def _at(sample: int, like: Tensor) -> Tensor:
    return torch.tensor([sample], device=like.device)


def counted(shape: Sequence[int], tag: Tag, size: int, device: torch.device) -> Tensor:
    """(B,) float32 number of values of each sample."""
    return fold(torch.ones((), device=device).expand(tuple(shape)), tag, size)


def spread(weights: Tensor, tag: Tag, like: Tensor) -> Tensor:
    """The samples' weights by rows, 1 for what belongs to no sample, with the tag's shape.

    Args:
        weights: (B,).
        tag: Tag of the values: the sample of each of them.
        like: Gives device and dtype.
    """
    weights = weights.to(like.device, torch.promote_types(like.dtype, torch.float32))
    if isinstance(tag, int):
        return weights[tag]
    known = torch.cat([weights, weights.new_ones(1)])
    return known[tag.remainder(len(known)).to(like.device, non_blocking=True)]
