"""Which sample each row of a tensor belongs to: tags that go with tensors through the operations of a step.

A tag is the number of the sample (int) that a whole tensor belongs to, or an int64 tensor on the CPU with as many
dimensions as the tagged one, each of its size or of size 1 where all along it belongs to the same sample; -1 = none.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Tag", "Tags", "drop_dim", "follow", "follow_shape", "tag_batch"]

Tag = Tensor | int

# Larger tags are given up: they are what is to be told about logits, and must not be as large as those.
LARGEST = 2**22


class Tags:
    """The tags of the tensors of one batch; they don't keep a tensor alive.

    Args:
        size: B.

    Attributes:
        masked: Whether rows of something differentiable were chosen by a mask: in other batches it may be others.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.masked = False
        self._of: dict[int, tuple[weakref.ref[Tensor], Tag]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def get(self, tensor: Any) -> Tag | None:
        """The tensor's tag."""
        found = self._of.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def set(self, tensor: Tensor, tag: Tag | None) -> None:
        """Give the tensor a tag; None takes it away."""
        if tag is None:
            self._of.pop(id(tensor), None)
        else:
            if isinstance(tag, Tensor) and tag.numel() == 1:
                tag = int(tag)
            self._of[id(tensor)] = weakref.ref(tensor), tag


# ---------------------------------------------------------------- the batch
def tag_batch(tags: Tags, batch: Any) -> None:
    """Tag what a batch of B samples holds: tensors with B rows, lists of B samples, graphs by their `batch`."""
    size = tags.size
    if _tag_graphs(tags, batch):
        return
    # A list of B tensors with B rows each may be of samples or of views: of views where tensors tell the batch's size.
    views = any(leaf.ndim and len(leaf) == size for leaf, _ in _leaves(batch, _Lists(size, skip=True)))
    leaves = list(_leaves(batch, _Lists(size, views=views)))
    for leaf, sample in leaves:
        if sample is not None:
            tags.set(leaf, sample)
        elif leaf.ndim and len(leaf) == size:
            tags.set(leaf, torch.arange(size).view(-1, *[1] * (leaf.ndim - 1)))
    if not len(tags):
        # Time first: sizes alone would not do where another dimension may be B, but nothing has B rows.
        for leaf, _ in leaves:
            if leaf.ndim > 1 and leaf.shape[1] == size:
                tags.set(leaf, _second(leaf, size))
    elif size > 1 and _is_square(leaves, size):
        signs = {_padding(leaf) for leaf, _ in leaves}
        if 1 in signs and -1 not in signs:
            for leaf, _ in leaves:
                tags.set(leaf, _second(leaf, size))


def _is_square(leaves: list[tuple[Tensor, int | None]], size: int) -> bool:
    """Whether everything has as many steps as samples: padding, at the end of the time, tells which is which."""
    return all(sample is None and leaf.shape[:2] == (size, size) for leaf, sample in leaves)


def _second(leaf: Tensor, size: int) -> Tensor:
    return torch.arange(size).view(1, -1, *[1] * (leaf.ndim - 2))


def _padding(leaf: Tensor) -> int:
    """Whether padding of (n, n, ...) stands at the ends of the columns, 1, or at those of the rows, -1; 0 = unclear."""
    square = leaf.reshape(*leaf.shape[:2], -1)[:, :, 0]
    for value in (0, -100, square[-1, -1]):
        fill = square == value
        # All of it, and not by chance at the ends of the other lines as well.
        down, right = (torch.equal(fill.flip(d).cummin(d).values.sum(), fill.sum()) for d in (0, 1))
        if down != right:
            return 1 if down else -1
    return 0


@dataclass
class _Lists:
    """What lists as long as the batch are taken for.

    Args:
        size: B.
        views: Whether a list of tensors with B rows is one of views.
        skip: Whether to leave out lists of tensors.
    """

    size: int
    views: bool = False
    skip: bool = False

    def are_samples(self, values: Sequence[Any], depth: int) -> bool:
        """Whether a list is one of samples, and not one of fields or views."""
        if len(values) != self.size:
            return False
        rows = [isinstance(value, Tensor) and value.ndim > 0 and len(value) == self.size for value in values]
        if depth == 0:
            return not any(self._is_field(value) for value in values)
        return not (self.views and all(rows))

    def _is_field(self, value: Any) -> bool:
        """Whether it holds something of each sample, and not all of one."""
        if isinstance(value, Mapping):
            return any(isinstance(part, Tensor) and part.shape[:1] == (self.size,) for part in value.values())
        if isinstance(value, (list, tuple)):
            return len(value) == self.size and len({type(part) for part in value}) == 1
        return isinstance(value, Tensor)


def _leaves(
    value: Any, lists: _Lists, sample: int | None = None, depth: int = 0
) -> Iterator[tuple[Tensor, int | None]]:
    """The tensors in a batch, each with the sample that it belongs to as a whole, if any."""
    if isinstance(value, Tensor):
        yield value, sample
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part, lists, sample, depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), lists, sample, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        of_samples = sample is None and lists.are_samples(value, depth)
        if lists.skip and of_samples:
            return
        for i, part in enumerate(value):
            yield from _leaves(part, lists, i if of_samples else sample, depth + 1)


def _tag_graphs(tags: Tags, batch: Any) -> bool:
    """Nodes and edges of a batch of graphs, or of the neighbourhoods of nodes, as torch-geometric makes them."""
    data = batch[0] if isinstance(batch, (list, tuple)) and len(batch) == 1 else batch
    if not hasattr(data, "edge_index") or not hasattr(data, "to_dict"):
        return False
    size, held = tags.size, [value for value in data.to_dict().values() if isinstance(value, Tensor) and value.ndim]
    nodes = getattr(data, "batch", None)
    if not isinstance(nodes, Tensor):
        count = data.num_nodes
        nodes = torch.arange(count)
        if getattr(data, "batch_size", None) == size:
            nodes = nodes.masked_fill(nodes >= size, -1)
        elif count != size:
            return False
    nodes, ends = nodes.cpu(), getattr(data, "edge_index", None)
    edges = nodes[ends[0].cpu()] if isinstance(ends, Tensor) else None
    for value in held:
        rows = torch.arange(size) if len(value) == size else nodes if len(value) == len(nodes) else edges
        if rows is not None and len(rows) == len(value) and value is not ends:
            tags.set(value, rows.view(-1, *[1] * (value.ndim - 1)))
    return True


# ---------------------------------------------------------------- operations
def _both(*names: str) -> list[Any]:
    return [f for name in names for f in (getattr(torch, name, None), getattr(Tensor, name, None)) if f is not None]


# Views: the same call on a tag of the tensor's shape costs no memory.
VIEWS = frozenset(
    [
        *_both("transpose", "swapaxes", "swapdims", "t", "permute", "movedim", "moveaxis", "unsqueeze", "squeeze"),
        *_both("select", "narrow", "chunk", "split", "tensor_split", "unbind", "expand", "expand_as", "diagonal"),
        *_both("adjoint", "unfold", "broadcast_to", "split_with_sizes", "hsplit", "vsplit"),
        *(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH")),
    ]
)
# The same call on tags that are copied.
COPIES = frozenset(
    [
        *_both("cat", "concat", "concatenate", "stack", "vstack", "hstack", "repeat", "tile", "repeat_interleave"),
        *_both("flip", "roll", "index_select", "masked_select", "fliplr", "flipud"),
        F.pad,
    ]
)
# Those whose other arguments are numbers of rows or masks.
INDEXED = frozenset(_both("index_select", "masked_select", "repeat_interleave"))
RESHAPES = frozenset(_both("view", "reshape", "flatten", "unflatten", "ravel", "view_as", "reshape_as"))
# Operations that sort along a dimension and tell the order.
SORTS = frozenset(_both("sort", "msort", "topk"))
# What they give has rows of another meaning.
OTHERS = frozenset(
    [
        *_both("argsort", "nonzero", "unique", "unique_consecutive", "new_zeros", "new_ones", "new_full", "new_empty"),
        *_both("new_tensor", "bincount", "histc", "kthvalue", "multinomial", "searchsorted", "as_strided"),
    ]
)
GATHERS = frozenset(
    _both("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_", "index_reduce")
)
OVER_DIMS = frozenset(
    [
        *_both("mean", "sum", "nanmean", "nansum", "amax", "amin", "max", "min", "logsumexp", "prod", "norm", "std"),
        *_both("var", "median", "any", "all", "argmax", "argmin", "count_nonzero", "nanmedian"),
        torch.linalg.vector_norm,
        torch.linalg.norm,
    ]
)
# The rows of the first matrix become those of the result; what is summed over is gone.
PRODUCTS = frozenset([*_both("mm", "matmul", "bmm", "mv", "__matmul__"), Tensor.__matmul__])
RECURRENT = frozenset(f for name in ("lstm", "gru", "rnn_tanh", "rnn_relu") if (f := getattr(torch, name, None)))
# Elementwise operations that losses apply to targets: followed at every batch, as views and copies are.
ON_TARGETS = frozenset(
    [
        *_both("to", "float", "long", "int", "bool", "half", "bfloat16", "double", "type", "type_as", "cuda", "cpu"),
        *_both("clone", "contiguous", "detach", "masked_fill", "where", "clamp", "ne", "eq", "ge", "gt", "le", "lt"),
        *_both("mul", "add", "sub", "div", "logical_and", "logical_not", "bitwise_and", "bitwise_not", "one_hot"),
        F.one_hot,
        *(getattr(Tensor, f"__{name}__") for name in ("and", "invert", "rsub", "rtruediv")),
        Tensor.data.__get__,  # type: ignore[attr-defined]
    ]
)
SHAPES = VIEWS | COPIES | RESHAPES | {Tensor.__getitem__}
LIGHT = SHAPES | ON_TARGETS


def follow_shape(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Tag the results of an operation on tagged tensors, where it is one of `LIGHT`."""
    if not _any_tagged(tags, args, kwargs):
        return
    if func in SHAPES:
        _follow(tags, func, args, kwargs, result)
    else:
        _inherit(tags, args, kwargs, result)


def follow(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Tag the results of any operation on tagged tensors."""
    if not _any_tagged(tags, args, kwargs) or func in OTHERS:
        return
    if func in SHAPES:
        _follow(tags, func, args, kwargs, result)
    elif func in SORTS:
        _sort(tags, func, args, kwargs, result)
    elif func in GATHERS:
        _gather(tags, args, kwargs, result)
    elif func in OVER_DIMS:
        _reduce(tags, args, kwargs, result)
    elif func in PRODUCTS:
        _multiply(tags, args, result)
    elif func is torch.einsum:
        _contract(tags, args, result)
    elif func in PACKS:
        _pack(tags, func, args, kwargs, result)
    elif func in RECURRENT:
        _recur(tags, args, result)
    elif func is Tensor.copy_:
        _write(tags, *args[:2])
    else:
        _inherit(tags, args, kwargs, result)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (part for part in value if isinstance(part, Tensor))


def _any_tagged(tags: Tags, args: Any, kwargs: Any) -> bool:
    return any(tags.get(t) is not None for t in _tensors((*args, *kwargs.values())))


def _follow(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
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
    alone = {tags.get(t) if isinstance(tags.get(t), int) else None for t in _tensors(args)}
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


def fits(tag: Tag, shape: Sequence[int]) -> bool:
    """Whether the tag can be that of a tensor of this shape."""
    if isinstance(tag, int):
        return True
    return tag.ndim == len(shape) and all(a in (1, b) for a, b in zip(tag.shape, shape, strict=True))


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
    tags.masked |= tensor.requires_grad and any(isinstance(p, Tensor) and p.dtype == torch.bool for p in _parts(moved))
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


def drop_dim(tag: Tag, dim: int) -> Tag | None:
    """The tag without a dimension along which each sample is the same; None if they differ along it."""
    if isinstance(tag, int):
        return tag
    first = tag.narrow(dim, 0, 1)
    return first.squeeze(dim) if tag.shape[dim] == 1 or torch.equal(first.expand_as(tag), tag) else None


# ---------------------------------------------------------------- operations that take the samples of their arguments
def _inherit(tags: Tags, args: Any, kwargs: Any, result: Any) -> None:
    """Each result takes the tag of the argument that shares most leading dimensions with it."""
    tagged = [(t, tag) for t in _tensors((*args, *kwargs.values())) if (tag := tags.get(t)) is not None]
    for r in _tensors((result,) if isinstance(result, Tensor) else result if isinstance(result, tuple) else ()):
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
        return alone.pop() if len(alone) == 1 else None
    return best


def _sort(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    values, order = result if isinstance(result, tuple) else (result, None)
    tag, highest = tags.get(args[0]), func in _both("topk")
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


def _gather(tags: Tags, args: Any, kwargs: Any, result: Tensor) -> None:
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


_GATHER_ARGS = ((1, "dim"), (2, "index"), (3, "src"))


def _reduce(tags: Tags, args: Any, kwargs: Any, result: Any) -> None:
    tag = tags.get(args[0]) if args else None
    results = list(_tensors((result,) if isinstance(result, Tensor) else result))
    if not isinstance(tag, Tensor):
        _inherit(tags, args, kwargs, result)
        return
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if isinstance(dims, Tensor):  # torch.max(a, b)
        _inherit(tags, args, kwargs, result)
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


def _recur(tags: Tags, args: Any, result: Any) -> None:
    """Outputs of recurrent layers have the samples where their inputs have them, last states in their middle."""
    tag = tags.get(args[0])
    if not isinstance(tag, Tensor) or not fits(tag, args[0].shape):
        _inherit(tags, args, {}, result)
        return
    output, *states = result
    tags.set(output, tag if output.ndim == tag.ndim else None)
    # Of packed rows those of the first step are all samples.
    packed = isinstance(args[1], Tensor) and tag.ndim == 2
    numbers = tag.flatten()[: int(args[1][0])] if packed else tag.flatten()
    for state in states:
        if state.ndim == 3 and state.shape[1] == len(numbers):
            tags.set(state, numbers.view(1, -1, 1))


def _write(tags: Tags, target: Tensor, source: Tensor) -> None:
    """A sample that is copied into its place in a batch."""
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


def _multiply(tags: Tags, args: Any, result: Tensor) -> None:
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


def _contract(tags: Tags, args: Any, result: Tensor) -> None:
    """`torch.einsum`: the samples lie where the letter of their dimension is."""
    equation = args[0]
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return
    inputs, output = equation.replace(" ", "").split("->")
    for letters, tensor in zip(inputs.split(","), _tensors(args[1:]), strict=False):
        tag = tags.get(tensor)
        if isinstance(tag, Tensor) and tag.ndim == len(letters):
            varying = [d for d, n in enumerate(tag.shape) if n > 1]
            if all(letters[d] in output for d in varying):
                order = [letters[d] for d in varying]
                if order == sorted(order, key=output.index):
                    sizes = {letters[d]: tag.shape[d] for d in varying}
                    tags.set(result, tag.reshape([sizes.get(letter, 1) for letter in output]))
                    return


# Padded sequences, packed and unpacked: what the functions of torch.nn.utils.rnn call.
PADS = frozenset({getattr(torch._C._nn, "pad_sequence", None)}) - {None}
PACKS = PADS | frozenset({torch._VF._pack_padded_sequence, torch._VF._pad_packed_sequence})  # type: ignore[attr-defined]


def _pack(tags: Tags, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    if func in PADS:
        numbers = [tags.get(part) for part in args[0]]
        if all(isinstance(number, int) for number in numbers):
            first = kwargs.get("batch_first", args[1] if len(args) > 1 else False)
            tags.set(result, torch.tensor(numbers).view(*(-1, 1) if first else (1, -1), *[1] * (result.ndim - 2)))
        return
    tag, values = tags.get(args[0]), result[0]
    if isinstance(tag, Tensor):
        others = [part.cpu() if isinstance(part, Tensor) else part for part in args[1:]]
        if func is torch._VF._pad_packed_sequence:  # type: ignore[attr-defined]
            others[2:3] = [-1]
        lead = 2 if func is torch._VF._pack_padded_sequence else 1  # type: ignore[attr-defined]
        found = func(tag.expand(*args[0].shape[:lead], *tag.shape[lead:]), *others)[0]
        tags.set(values, found if fits(found, values.shape) else None)
