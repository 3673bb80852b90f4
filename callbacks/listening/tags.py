"""Which sample each row of a tensor belongs to: tags that go with tensors through the operations of a step.

A tag is the number of the sample (int) that a whole tensor belongs to, or an int64 tensor on the CPU with as many
dimensions as the tagged one, each of its size or of size 1 where all along it belongs to the same sample; -1 = none.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

__all__ = ["LARGEST", "MIXED", "Tag", "Tags", "drop_dim", "fits", "tensors_in"]

Tag = Tensor | int
# The whole of several samples that each belong to it as a whole.
MIXED = -1

# Larger tags are given up: they are what is to be told about logits, and must not be as large as those.
LARGEST = 2**22


class Tags:
    """The tags of the tensors of one batch; they don't keep a tensor alive.

    Args:
        size: Number of samples in the batch, B.
        of: Tags to begin with, by the tensors' identity.

    Attributes:
        masked: Whether rows of something differentiable were chosen by a mask: in other batches it may be others.
    """

    def __init__(self, size: int, of: Mapping[int, tuple[weakref.ref[Tensor], Tag]] = MappingProxyType({})) -> None:
        self.size = size
        self.masked = False
        self._of = dict(of)

    def __len__(self) -> int:
        return len(self._of)

    def note_mask(self) -> None:
        """Rows of something differentiable were chosen by a mask."""
        self.masked = True

    def copy(self) -> Tags:
        """The same tags, to go on by themselves."""
        return Tags(self.size, self._of)

    def get(self, tensor: Any) -> Tag | None:
        """The tensor's tag."""
        found = self._of.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def known(self, tensor: Any) -> Tag | None:
        """The tensor's tag, if it tells samples apart."""
        tag = self.get(tensor)
        return None if isinstance(tag, int) and tag == MIXED else tag

    def batch(self) -> Iterator[tuple[Tensor, int]]:
        """What is alive with a row for each sample in turn, with the dimension of the samples."""
        for known, tag in list(self._of.values()):
            tensor = known()
            if tensor is not None and isinstance(tag, Tensor) and torch.equal(tag.flatten(), torch.arange(self.size)):
                yield tensor, tag.shape.index(self.size)

    def of_same_memory(self, tensor: Tensor) -> Tag | None:
        """The tag of the tensor of this shape that has its memory, which it may be another view of."""
        for known, tag in self._of.values():
            other = known()
            if other is not None and other.shape == tensor.shape and other.data_ptr() == tensor.data_ptr():
                return tag
        return None

    def set(self, tensor: Tensor, tag: Tag | None) -> None:
        """Give the tensor a tag; None takes it away."""
        if tag is None:
            self._of.pop(id(tensor), None)
        else:
            if isinstance(tag, Tensor) and tag.numel() == 1:
                tag = int(tag)
            self._of[id(tensor)] = weakref.ref(tensor), tag


def fits(tag: Tag, shape: Sequence[int]) -> bool:
    """Whether the tag can be that of a tensor of this shape."""
    if isinstance(tag, int):
        return True
    return tag.ndim == len(shape) and all(a in (1, b) for a, b in zip(tag.shape, shape, strict=True))


def drop_dim(tag: Tag, dim: int) -> Tag | None:
    """The tag without a dimension along which each sample is the same; None if they differ along it."""
    if isinstance(tag, int):
        return tag
    first = tag.narrow(dim, 0, 1)
    return first.squeeze(dim) if tag.shape[dim] == 1 or torch.equal(first.expand_as(tag), tag) else None


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Tensors among arguments or results, and in their lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (part for part in value if isinstance(part, Tensor))
