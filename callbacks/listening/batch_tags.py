"""Tags of a batch: which sample each row of what a step is given belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.tags import Tags

__all__ = ["tag_batch"]


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
