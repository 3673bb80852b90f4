"""Operations that sum over samples without being a sum of everything: products of matrices, sums over a dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.callbacks.listening.parts import Part
from dynsel.callbacks.listening.rows import fold
from dynsel.callbacks.listening.shapes import both
from dynsel.callbacks.listening.tags import Tag, Tags

__all__ = ["LINEAR_OPS", "ContractionPart", "contraction"]

# Linear in each of their tensors.
LINEAR_OPS = frozenset(
    [
        *both("dot", "vdot", "inner", "mm", "matmul", "bmm", "mv", "__matmul__", "__rmatmul__", "trace"),
        *both("mean", "sum", "nanmean", "nansum", "cumsum"),
        torch.einsum,
        torch.tensordot,
        torch.chain_matmul,
        torch.linalg.multi_dot,
        torch.linalg.vecdot,
        F.linear,
        F.bilinear,
    ]
)


class ContractionPart(Part):
    """An operation in which the dimension of the samples is summed over.

    What a sample adds to the loss is its rows of an argument times their derivative through this operation alone. The
    derivative is had by running the operation once more, once the one of its result is known.

    Args:
        func: The operation, linear in the argument.
        args: Its arguments.
        kwargs: Its arguments by name.
        result: What it gave.
        rows: The argument whose rows are of samples.
        tag: Its samples.
    """

    def __init__(self, func: Any, args: Any, kwargs: Any, result: Tensor, rows: Tensor, tag: Tag) -> None:
        name = getattr(func, "__name__", "sum").strip("_")
        super().__init__(f"{name} over samples", "sum", result)
        self.func, self.rows, self.tag = func, rows.detach().float(), tag
        self.call = _prepared((args, kwargs), rows)
        self.summed, self.weighable = result.ndim > 0, False
        self.averages = name in ("mean", "nanmean")
        self.shape = rows.shape

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Its rows, as long as nothing is known of their derivative."""
        return self.rows, None

    def contributions(self, size: int) -> Tensor:
        """(B,) what the rows of each sample add up to, so that times the coefficient it is the sample's share.

        After the backward pass. Where the result is of several numbers, whose derivatives may differ, the coefficient
        becomes one number: theirs if the rows get the same one each, else 1, and the rows are multiplied by theirs. Of
        a mean it is that of the sample's part in it alone.
        """
        assert self.coefficient is not None
        assert self.tag is not None
        several = self.result.ndim > 0
        with torch.enable_grad(), torch.autocast(self.rows.device.type, enabled=False):
            leaf = self.rows.clone().requires_grad_()
            args, kwargs = _filled(self.call, leaf)
            result = self.func(*args, **kwargs)
            goal = self.coefficient.to(result.dtype) if several else torch.ones_like(result)
            (slope,) = torch.autograd.grad(result, leaf, goal)
        if several:
            slope = slope * size if self.averages else slope
            own = slope.flatten()[0]
            self.coefficient = own.new_ones(())
            if own != 0 and torch.allclose(slope, own, rtol=1e-4, atol=0.0):
                self.coefficient, slope = own, torch.ones_like(slope)
        return fold(slope * self.rows, self.tag, size)


class _Place:
    """Stands for the argument with the rows."""


def _prepared(value: Any, rows: Tensor) -> Any:
    if value is rows:
        return _Place
    if isinstance(value, Tensor):
        return value.detach().float() if value.is_floating_point() else value.detach()
    if isinstance(value, dict):
        return {key: _prepared(part, rows) for key, part in value.items() if key not in ("out", "dtype")}
    return type(value)(_prepared(part, rows) for part in value) if type(value) in (list, tuple) else value


def _filled(value: Any, leaf: Tensor) -> Any:
    """The arguments with the leaf in the first place of the rows; in another one, as of `x @ x`, they stay constant."""
    places = iter([leaf])

    def fill(value: Any) -> Any:
        if value is _Place:
            return next(places, leaf.detach())
        if isinstance(value, dict):
            return {key: fill(part) for key, part in value.items()}
        return type(value)(fill(part) for part in value) if type(value) in (list, tuple) else value

    return fill(value)


def contraction(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> ContractionPart | None:
    """The part that an operation is, if it sums over samples; None if it doesn't.

    Args:
        tags: Samples of the rows, the result's among them if it has any.
        func: The operation that was called.
        args: Its arguments.
        kwargs: Its arguments by name.
        result: What it gave.
    """
    if not isinstance(result, Tensor) or not result.requires_grad or tags.get(result) is not None:
        return None
    if result.ndim == 0 and getattr(func, "__name__", "") in ("mean", "sum", "nanmean", "nansum"):
        return None
    for tensor in _tensors((args, kwargs)):
        tag = tags.get(tensor)
        if isinstance(tag, Tensor) and bool((tag != tag.flatten()[0]).any()):
            return ContractionPart(func, args, kwargs, result, tensor, tag)
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)
