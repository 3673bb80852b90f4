"""Tags of a batch: which sample each row of what a step is given belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynsel.callbacks.listening.layout import Layout, Path
from dynsel.callbacks.listening.tags import Tags

__all__ = ["Leaf", "leaves_of", "tag_batch"]


class Leaf(NamedTuple):
    """A tensor in a batch, with the sample that it belongs to as a whole, if any, and the keys that lead to it."""

    tensor: Tensor
    sample: int | None
    path: Path


def tag_batch(tags: Tags, batch: Any, layout: Layout) -> None:
    """Tag what a batch of B samples holds: tensors with B rows, lists of B samples, graphs by their `batch`.

    Args:
        tags: Receives the tags.
        batch: What the step is given.
        layout: What is known of the training's batches.
    """
    if _tag_graphs(tags, batch):
        return
    size, leaves = tags.size, leaves_of(batch, tags.size)
    layout.look(((leaf.path, leaf.tensor.shape) for leaf in leaves), size)
    axes = [_axis(leaf, layout, size) for leaf in leaves]
    if all(axis is None for axis in axes):
        # Time first: sizes alone would not do where another dimension may be B, but nothing has B rows.
        axes = [1 if leaf.tensor.ndim > 1 and leaf.tensor.shape[1] == size else None for leaf in leaves]
    for leaf, axis in zip(leaves, _turned(leaves, axes, layout, size), strict=True):
        if leaf.sample is not None:
            tags.set(leaf.tensor, leaf.sample)
        elif axis is not None:
            tags.set(leaf.tensor, torch.arange(size).view([-1 if d == axis else 1 for d in range(leaf.tensor.ndim)]))


def leaves_of(batch: Any, size: int) -> list[Leaf]:
    """The tensors in a batch of B samples."""
    # A list of B tensors with B rows each may be of samples or of views: of views where tensors tell the batch's size.
    views = any(leaf.tensor.ndim and len(leaf.tensor) == size for leaf in _leaves(batch, _Lists(size, skip=True)))
    return list(_leaves(batch, _Lists(size, views=views)))


def _axis(leaf: Leaf, layout: Layout, size: int) -> int | None:
    """The dimension of the samples: as it is known, else the first one if it has B entries."""
    if leaf.sample is not None:
        return 0
    known = layout.axis(leaf.path, leaf.tensor.shape, size)
    return 0 if known is None and leaf.tensor.ndim and len(leaf.tensor) == size else known


def _turned(leaves: list[Leaf], axes: list[int | None], layout: Layout, size: int) -> list[int | None]:
    """The dimensions, the second one for tensors of as many steps as samples whose padding shows that it is."""
    unclear = [k for k, leaf in enumerate(leaves) if size > 1 and _is_unclear(leaf, layout, size)]
    if not unclear:
        return axes
    signs = {_padding(leaves[k].tensor) for k in unclear}
    if len(unclear) == len(leaves) and 1 in signs and -1 not in signs:
        return [1 if k in unclear else axis for k, axis in enumerate(axes)]
    if -1 not in signs:
        for k in unclear:
            layout.guess(leaves[k].path, leaves[k].tensor.shape)
    return axes


def _is_unclear(leaf: Leaf, layout: Layout, size: int) -> bool:
    shape = leaf.tensor.shape
    return leaf.sample is None and shape[:2] == (size, size) and layout.axis(leaf.path, shape, size) is None


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
        size: Number of samples in the batch, B.
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


def _leaves(value: Any, lists: _Lists, sample: int | None = None, path: Path = ()) -> Iterator[Leaf]:
    if isinstance(value, Tensor):
        yield Leaf(value, sample, path)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, lists, sample, (*path, key))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), lists, sample, (*path, field.name))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        of_samples = sample is None and lists.are_samples(value, len(path))
        if lists.skip and of_samples:
            return
        for i, part in enumerate(value):
            yield from _leaves(part, lists, i if of_samples else sample, (*path, i))


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
