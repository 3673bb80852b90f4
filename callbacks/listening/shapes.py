"""Views, copies and indexing: what they do to a tensor they do to its tag."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.callbacks.listening.tags import LARGEST, Tag, Tags, fits, tensors_in

__all__ = ["SHAPES", "both", "follow_shape"]


def both(*names: str) -> list[Any]:
    """Functions of these names, of `torch` and of `Tensor`, as far as this torch has them.

    Args:
        *names: Names of operations, as "transpose".
    """
    return [f for name in names for f in (getattr(torch, name, None), getattr(Tensor, name, None)) if f is not None]


# Views: the same call on a tag of the tensor's shape costs no memory.
VIEWS = frozenset(
    [
        *both("transpose", "swapaxes", "swapdims", "t", "permute", "movedim", "moveaxis", "unsqueeze", "squeeze"),
        *both("select", "narrow", "chunk", "split", "tensor_split", "unbind", "expand", "expand_as", "diagonal"),
        *both("adjoint", "unfold", "broadcast_to", "split_with_sizes", "hsplit", "vsplit"),
        *(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH")),
    ]
)
# The same call on tags that are copied.
COPIES = frozenset(
    [
        *both("cat", "concat", "concatenate", "stack", "vstack", "hstack", "repeat", "tile", "repeat_interleave"),
        *both("flip", "roll", "index_select", "masked_select", "fliplr", "flipud"),
        F.pad,
    ]
)
# Those whose other arguments are numbers of rows or masks.
INDEXED = frozenset(both("index_select", "masked_select", "repeat_interleave"))
RESHAPES = frozenset(both("view", "reshape", "flatten", "unflatten", "ravel", "view_as", "reshape_as"))
SHAPES = VIEWS | COPIES | RESHAPES | {Tensor.__getitem__}


def follow_shape(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Tag the results of an operation of `SHAPES` on tagged tensors."""
    if func in RESHAPES:
        tag = tags.get(args[0])
        if tag is not None:
            tags.set(result, tag if isinstance(tag, int) else _reshaped(tag, args[0].shape, result.shape))
    elif func is Tensor.__getitem__:
        tags.set(result, _taken(tags, args[0], args[1], result.shape))
    else:
        _replay(tags, func, args, kwargs, result)


def _replay(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """The same call on the tags."""
    if func is F.pad:
        kwargs = {**kwargs, "value": -1}
        args = args[:2]
    elif func in INDEXED:
        args, kwargs = (args[0], *_on_cpu(args[1:])), {key: _on_cpu(part) for key, part in kwargs.items()}
    results = [result] if isinstance(result, Tensor) else list(result)
    alone = {tags.get(t) if isinstance(tags.get(t), int) else None for t in tensors_in(args)}
    if len(alone) == 1 and None not in alone:
        for r in results:
            tags.set(r, next(iter(alone)))
        return
    for whole in (True,) if func in VIEWS else (False, True):
        if whole and func not in VIEWS and sum(r.numel() for r in results) > LARGEST:
            break
        try:
            if func in INDEXED:
                replayed = func(_as_tags(tags, args[0], whole), *args[1:], **kwargs)
            else:
                replayed = func(*_as_tags(tags, args, whole), **_as_tags(tags, kwargs, whole))
        except (RuntimeError, IndexError, ValueError):
            continue
        found = [_collapsed(tag) for tag in ([replayed] if isinstance(replayed, Tensor) else replayed)]
        pairs = list(zip(results, found, strict=True))
        if all(fits(tag, r.shape) for r, tag in pairs):
            for r, tag in pairs:
                tags.set(r, tag)
            return
    for r in results:
        tags.set(r, None)


def _as_tags(tags: Tags, value: Any, whole: bool) -> Any:
    if isinstance(value, Tensor):
        tag = tags.get(value)
        return _expanded(-1 if tag is None else tag, value.shape, whole)
    if isinstance(value, dict):
        return {key: _as_tags(tags, part, whole) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_tags(tags, part, whole) for part in value)
    return value


def _expanded(tag: Tag, shape: torch.Size, whole: bool) -> Tensor:
    """The tag with the tensor's shape, or with all but its trailing dimensions of one sample's."""
    if isinstance(tag, int):
        tag = torch.full([1] * len(shape), tag)
    if not whole:
        lead = max((d + 1 for d in range(tag.ndim) if tag.shape[d] > 1), default=min(1, tag.ndim))
        shape = torch.Size([*shape[:lead], *[1] * (len(shape) - lead)])
    return tag.expand(shape)


def _collapsed(tag: Tensor) -> Tensor:
    """One entry along each dimension that repeats itself."""
    for d in range(tag.ndim):
        if tag.shape[d] > 1 and tag.stride(d) == 0:
            tag = tag.narrow(d, 0, 1)
    return tag


def _reshaped(tag: Tensor, old: torch.Size, new: torch.Size) -> Tensor | None:
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = tag.shape[head : len(old) - tail]
    before, after = tag.shape[:head], tag.shape[len(old) - tail :]
    if all(n == 1 for n in middle):
        return tag.reshape(*before, *[1] * (len(new) - head - tail), *after)
    if math.prod(new[: len(new) - tail]) * math.prod(after) > LARGEST:
        return None
    whole = tag.expand(*before, *old[head : len(old) - tail], *after)
    return whole.reshape(*before, *new[head : len(new) - tail], *after)


def _taken(tags: Tags, tensor: Tensor, index: Any, shape: torch.Size) -> Tag | None:
    tag = tags.get(tensor)
    if tag is None:
        return _of_index(tags, index, shape)
    if isinstance(tag, int):
        return tag
    moved = _on_cpu(index)
    copies = any(isinstance(part, (Tensor, list)) for part in _parts(moved))
    if not copies:
        return _collapsed(tag.expand(tensor.shape)[moved])
    if tensor.requires_grad and any(isinstance(p, Tensor) and p.dtype == torch.bool for p in _parts(moved)):
        tags.note_mask()
    consumed = sum(_dims_of(part) for part in _parts(moved))
    lead = max([consumed, *(d + 1 for d in range(tag.ndim) if tag.shape[d] > 1)])
    if any(part is Ellipsis for part in _parts(moved)):
        lead = tag.ndim
    small = tag.expand(*tensor.shape[:lead], *tag.shape[lead:])
    if math.prod(shape[: len(shape) - (tag.ndim - lead)]) > LARGEST:
        return None
    taken = small[moved]
    return taken if fits(taken, shape) else None


def _of_index(tags: Tags, index: Any, shape: torch.Size) -> Tag | None:
    """What is looked up by tagged numbers, as of a table, belongs to the samples of the numbers."""
    if isinstance(index, Tensor) and index.dtype not in (torch.bool, torch.uint8):
        tag = tags.get(index)
        if isinstance(tag, Tensor) and shape[: tag.ndim] == index.shape:
            return tag.view(*tag.shape, *[1] * (len(shape) - tag.ndim))
        return tag if isinstance(tag, int) else None
    return None


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _dims_of(part: Any) -> int:
    if part is None:
        return 0
    return part.ndim if isinstance(part, Tensor) and part.dtype == torch.bool else 1


def _on_cpu(index: Any) -> Any:
    if isinstance(index, Tensor):
        return index.cpu()
    return tuple(_on_cpu(part) for part in index) if isinstance(index, tuple) else index
