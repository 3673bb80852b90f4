"""Follows the samples of rows through the operations of a step."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dynsel.callbacks.listening.computations import FOLLOWED, OTHERS, inherit
from dynsel.callbacks.listening.shapes import SHAPES, both, follow_shape
from dynsel.callbacks.listening.tags import Tags, tensors_in

__all__ = ["LIGHT", "follow", "follow_light"]

# Elementwise operations that losses apply to targets: followed at every batch, as views and copies are.
ON_TARGETS = frozenset(
    [
        *both("to", "float", "long", "int", "bool", "half", "bfloat16", "double", "type", "type_as", "cuda", "cpu"),
        *both("clone", "contiguous", "detach", "masked_fill", "where", "clamp", "ne", "eq", "ge", "gt", "le", "lt"),
        *both("mul", "add", "sub", "div", "logical_and", "logical_not", "bitwise_and", "bitwise_not", "one_hot"),
        F.one_hot,
        *(getattr(Tensor, f"__{name}__") for name in ("and", "invert", "rsub", "rtruediv")),
        Tensor.data.__get__,  # type: ignore[attr-defined]
    ]
)
LIGHT = SHAPES | ON_TARGETS


def follow_light(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Tag the results of an operation on tagged tensors, where it is one of `LIGHT`."""
    if _any_tagged(tags, args, kwargs):
        (follow_shape if func in SHAPES else inherit)(tags, func, args, kwargs, result)


def follow(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Tag the results of any operation on tagged tensors."""
    if _any_tagged(tags, args, kwargs) and func not in OTHERS:
        (follow_shape if func in SHAPES else FOLLOWED.get(func, inherit))(tags, func, args, kwargs, result)


def _any_tagged(tags: Tags, args: Any, kwargs: Any) -> bool:
    return any(tags.get(t) is not None for t in tensors_in((*args, *kwargs.values())))
