"""Computations: what tensors are computed from tells the samples of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.callbacks.listening.shapes import both
from dynsel.callbacks.listening.tags import LARGEST, MIXED, Tag, Tags, fits, tensors_in

__all__ = ["FOLLOWED", "OTHERS", "inherit"]

# Operations that sort along a dimension and tell the order.
SORTS = frozenset(both("sort", "msort", "topk"))
# What they give has rows of another meaning.
OTHERS = frozenset(
    [
        *both("argsort", "nonzero", "unique", "unique_consecutive", "new_zeros", "new_ones", "new_full", "new_empty"),
        *both("new_tensor", "bincount", "histc", "kthvalue", "multinomial", "searchsorted", "as_strided"),
    ]
)
GATHERS = frozenset(
    both("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_", "index_reduce")
)
PLACINGS = frozenset(both("scatter", "scatter_", "index_copy", "index_copy_"))
PICKS = frozenset(both("gather", "take", "take_along_dim"))
WRITES = frozenset([*both("index_put", "index_put_"), Tensor.__setitem__])
OVER_DIMS = frozenset(
    [
        *both("mean", "sum", "nanmean", "nansum", "amax", "amin", "max", "min", "logsumexp", "prod", "norm", "std"),
        *both("var", "median", "any", "all", "argmax", "argmin", "count_nonzero", "nanmedian"),
        torch.linalg.vector_norm,
        torch.linalg.norm,
    ]
)
# The rows of the first matrix become those of the result; what is summed over is gone.
PRODUCTS = frozenset([*both("mm", "matmul", "bmm", "mv", "__matmul__"), Tensor.__matmul__])
DOTS = frozenset(both("dot", "vdot"))
RUNNING = frozenset(both("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"))
RECURRENT = frozenset(f for name in ("lstm", "gru", "rnn_tanh", "rnn_relu") if (f := getattr(torch, name, None)))
# Padded sequences, packed and unpacked: what the functions of torch.nn.utils.rnn call.
PADS: frozenset[Any] = frozenset({getattr(torch._C._nn, "pad_sequence", None)}) - {None}
PACKED, UNPACKED = torch._C._VariableFunctions._pack_padded_sequence, torch._C._VariableFunctions._pad_packed_sequence
PACKS = PADS | {PACKED, UNPACKED}


def inherit(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Each result takes the tag of the argument that shares most leading dimensions with it."""
    tagged = [(t, tag) for t in tensors_in((*args, *kwargs.values())) if (tag := tags.get(t)) is not None]
    for r in tensors_in((result,) if isinstance(result, Tensor) else result if isinstance(result, tuple) else ()):
        if not any(r is t for t, _ in tagged):
            tags.set(r, _inherited(tagged, r.shape))


def _inherited(tagged: list[tuple[Tensor, Tag]], shape: torch.Size) -> Tag | None:
    best, shared = None, 0
    for tensor, tag in tagged:
        if isinstance(tag, int):
            continue
        lead = 0
        while lead < min(tensor.ndim, len(shape)) and tensor.shape[lead] == shape[lead]:
            lead += 1
        if lead > shared and all(n == 1 for n in tag.shape[lead:]):
            best, shared = tag.reshape(*tag.shape[:lead], *[1] * (len(shape) - lead)), lead
    if best is None:
        alone = {tag if isinstance(tag, int) else None for _, tag in tagged}
        # Of several samples it is of none, and stays so whatever is added.
        return alone.pop() if len(alone) == 1 else None if None in alone else MIXED
    return best


def _sort(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Sorted along a dimension, samples are where the order has put them."""
    values, order = result if isinstance(result, tuple) else (result, None)
    tag, highest = tags.get(args[0]), func in both("topk")
    if isinstance(tag, int):
        tags.set(values, tag)
    elif tag is not None and order is not None:
        place = 2 if highest and "k" not in kwargs else 1
        dim = kwargs.get("dim", args[place] if len(args) > place and not isinstance(args[place], bool) else -1)
        if tag.shape[dim] == 1:
            tags.set(values, tag)
        elif not highest and values.numel() <= LARGEST:
            # Of the highest alone nothing is said: the others have losses as well.
            tags.set(values, tag.expand(args[0].shape).gather(dim, order.cpu()))


def _gather(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Rows summed up by an index, as graphs are pooled: each belongs to the sample of what is summed up in it."""
    dim, index, source = (kwargs.get(name, args[i] if len(args) > i else None) for i, name in _GATHER_ARGS)
    if not isinstance(index, Tensor) or not isinstance(source, Tensor) or dim % result.ndim != 0 or not index.ndim:
        return
    tag = tags.get(source)
    if tag is None:
        return
    rows = index.cpu().reshape(len(index), -1)[:, 0]
    of = torch.full((len(rows),), tag) if isinstance(tag, int) else tag.reshape(len(tag), -1)[:, 0].expand(len(rows))
    found = torch.full((len(result),), -1).scatter_(0, rows, of)
    tags.set(result, found.view(-1, *[1] * (result.ndim - 1)))


def _place(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Rows put where an index says, into something that was of nobody."""
    dim, index, source = (kwargs.get(name, args[i] if len(args) > i else None) for i, name in _GATHER_ARGS)
    of_nobody = tags.get(args[0]) is None
    if of_nobody and isinstance(source, Tensor) and isinstance(index, Tensor) and index.ndim and dim == 0:
        _gather(tags, func, args, kwargs, result)
    else:
        inherit(tags, func, args, kwargs, result)


def _pick(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Values picked by an index: along the samples they are of other samples than before."""
    tag, place = tags.get(args[0]), 2 if func in both("take_along_dim") else 1
    dim = kwargs.get("dim", args[place] if len(args) > place and isinstance(args[place], int) else None)
    if not isinstance(tag, Tensor) or (dim is not None and tag.shape[dim] == 1):
        inherit(tags, func, args, kwargs, result)
    elif args[0].numel() <= LARGEST:
        others = [part.cpu() if isinstance(part, Tensor) else part for part in args[1:]]
        named = {key: part.cpu() if isinstance(part, Tensor) else part for key, part in kwargs.items()}
        tags.set(result, func(tag.expand(args[0].shape), *others, **named))


def _put(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """What is written into a tensor of nobody, row by row or by a mask, is of the samples that it was of."""
    target, index, values = (*args, *kwargs.values())[:3]
    known, tag = tags.get(target), tags.get(values)
    if tag is None or isinstance(known, int) or target.numel() > LARGEST:
        return
    places = torch.full(target.shape, -1) if known is None else known.expand(target.shape).clone()
    index = tuple(part.cpu() if isinstance(part, Tensor) else part for part in _as_tuple(index))
    if bool((places[index] == -1).all()):
        places[index] = torch.tensor(tag) if isinstance(tag, int) else tag.expand(values.shape)
        tags.set(result if isinstance(result, Tensor) else target, _filled_up(places))


def _filled_up(places: Tensor) -> Tensor:
    """A tag in which what belongs to nobody, as the padding of a buffer, goes with the rest of its row or column."""
    for dim in range(min(2, places.ndim)):
        lines = places.movedim(dim, 0).reshape(places.shape[dim], -1)
        highest = lines.max(1).values
        if lines.shape[1] > 1 and bool(((lines == highest[:, None]) | (lines == -1)).all()):
            return highest.view([-1 if d == dim else 1 for d in range(places.ndim)])
    return places


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


_GATHER_ARGS = ((1, "dim"), (2, "index"), (3, "src"))


def _reduce(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """What is reduced over rows of the same sample stays this sample's."""
    tag = tags.get(args[0]) if args else None
    results = list(tensors_in((result,) if isinstance(result, Tensor) else result))
    if not isinstance(tag, Tensor):
        inherit(tags, func, args, kwargs, result)
        return
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if isinstance(dims, Tensor):  # torch.max(a, b)
        inherit(tags, func, args, kwargs, result)
        return
    over = range(tag.ndim) if dims is None else [d % tag.ndim for d in ([dims] if isinstance(dims, int) else dims)]
    for d in over:
        if tag.shape[d] > 1:
            if not torch.equal(tag.narrow(d, 0, 1).expand_as(tag), tag):
                return
            tag = tag.narrow(d, 0, 1)
    for r in results:
        keeps = r.ndim == tag.ndim
        tags.set(r, tag if keeps else tag.reshape([n for d, n in enumerate(tag.shape) if d not in over]))


def _recur(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Outputs of recurrent layers have the samples where their inputs have them, last states in their middle."""
    tag = tags.get(args[0])
    if not isinstance(tag, Tensor) or not fits(tag, args[0].shape):
        inherit(tags, func, args, kwargs, result)
        return
    output, *states = result
    tags.set(output, tag if output.ndim == tag.ndim else None)
    # Of packed rows those of the first step are all samples.
    packed = isinstance(args[1], Tensor) and tag.ndim == 2
    numbers = tag.flatten()[: int(args[1][0])] if packed else tag.flatten()
    for state in states:
        if state.ndim == 3 and state.shape[1] == len(numbers):
            tags.set(state, numbers.view(1, -1, 1))


def _write(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """A sample that is copied into its place in a batch."""
    target, source = args[:2]
    tag, whole = tags.get(source), target._base
    if whole is None or not isinstance(tag, int) or whole.ndim < 2 or not whole.is_contiguous():
        if target.shape == source.shape and tags.get(target) is None:
            tags.set(target, tag)
        return
    row = (target.storage_offset() - whole.storage_offset()) // whole.stride(0)
    if target.ndim < whole.ndim or len(target) == 1:
        known = tags.get(whole)
        rows = torch.full((len(whole),), -1) if not isinstance(known, Tensor) else known.reshape(len(whole), -1)[:, 0]
        rows = rows.clone()
        rows[row] = tag
        tags.set(whole, rows.view(-1, *[1] * (whole.ndim - 1)))


def _multiply(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Products of matrices: the rows are those of the first one, and those of batches of matrices of either."""
    tag = tags.get(args[0])
    if isinstance(tag, int):
        tags.set(result, tag)
    elif tag is not None and tag.ndim > 1 and tag.shape[-1] == 1 and args[0].ndim <= result.ndim + 1:
        lead = tag.shape[:-1]
        found = tag.reshape(*[1] * (result.ndim - len(lead) - 1), *lead, *[1] * min(1, result.ndim - len(lead)))
        tags.set(result, found if fits(found, result.shape) else None)
    elif tag is None and result.ndim > 2 and isinstance(other := tags.get(args[1]), Tensor):
        batch = other.shape[:-2]
        if all(n == 1 for n in other.shape[-2:]) and result.shape[: len(batch)] == args[1].shape[: len(batch)]:
            tags.set(result, other)


def _contract(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """`torch.einsum`: the samples lie where the letter of their dimension is."""
    equation = args[0]
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return
    inputs, output = equation.replace(" ", "").split("->")
    for letters, tensor in zip(inputs.split(","), tensors_in(args[1:]), strict=False):
        tag = tags.get(tensor)
        if isinstance(tag, Tensor) and tag.ndim == len(letters):
            varying = [d for d, n in enumerate(tag.shape) if n > 1]
            if all(letters[d] in output for d in varying):
                order = [letters[d] for d in varying]
                if order == sorted(order, key=output.index):
                    sizes = {letters[d]: tag.shape[d] for d in varying}
                    tags.set(result, tag.reshape([sizes.get(letter, 1) for letter in output]))
                    return


def _run(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Running sums: along the samples each of them holds those before it as well."""
    tag, dim = tags.get(args[0]), kwargs.get("dim", args[1] if len(args) > 1 else 0)
    if not isinstance(tag, Tensor) or tag.shape[dim] == 1:
        inherit(tags, func, args, kwargs, result)


def _align(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """What sums over the last dimension of its arguments has the samples of the first one's others."""
    tag = tags.get(args[0])
    if isinstance(tag, Tensor) and tag.shape[-1] == 1:
        tags.set(result, tag.reshape(*tag.shape[:-1], *[1] * (result.ndim - tag.ndim + 1)))
    elif tag is None and isinstance(other := tags.get(args[1]), Tensor) and other.ndim == 2 and other.shape[1] == 1:
        tags.set(result, other.view(*[1] * (result.ndim - 1), -1))
    elif not isinstance(tag, Tensor):
        _nothing(tags, func, args, kwargs, result)


def _nothing(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """What is summed over may be the samples, unless all that has any is of one."""
    found = [tag for t in tensors_in(args) if (tag := tags.get(t)) is not None]
    if len(set(map(str, found))) == 1 and isinstance(found[0], int):
        tags.set(result, found[0])


def _pack(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Padding, packing and unpacking are done to the tag as well."""
    if func in PADS:
        numbers = [tags.get(part) for part in args[0]]
        if all(isinstance(number, int) for number in numbers):
            first = kwargs.get("batch_first", args[1] if len(args) > 1 else False)
            tags.set(result, torch.tensor(numbers).view(*(-1, 1) if first else (1, -1), *[1] * (result.ndim - 2)))
        return
    tag, values = tags.get(args[0]), result[0]
    if isinstance(tag, Tensor):
        others = [part.cpu() if isinstance(part, Tensor) else part for part in args[1:]]
        if func is UNPACKED:
            others[2:3] = [-1]
        lead = 2 if func is PACKED else 1
        found = func(tag.expand(*args[0].shape[:lead], *tag.shape[lead:]), *others)[0]
        tags.set(values, found if fits(found, values.shape) else None)


Follower = Callable[[Tags, Any, Any, Any, Any], None]
FOLLOWED: dict[Any, Follower] = {
    **dict.fromkeys(SORTS, _sort),
    **dict.fromkeys(GATHERS, _gather),
    **dict.fromkeys(PLACINGS, _place),
    **dict.fromkeys(PICKS, _pick),
    **dict.fromkeys(WRITES, _put),
    **dict.fromkeys(OVER_DIMS, _reduce),
    **dict.fromkeys(PRODUCTS, _multiply),
    **dict.fromkeys(RECURRENT, _recur),
    **dict.fromkeys(PACKS, _pack),
    **dict.fromkeys(DOTS, _nothing),
    **dict.fromkeys(RUNNING, _run),
    **dict.fromkeys((*both("inner"), F.linear), _align),
    torch.einsum: _contract,
    torch.tensordot: _nothing,
    Tensor.copy_: _write,
}
