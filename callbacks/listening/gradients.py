"""The norm of a sample's gradient at the output of the last layers, where no loss can be overheard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.graph import is_parameter, nearest
from dynsel.callbacks.listening.hearing import Effort, Hearing
from dynsel.callbacks.listening.rows import Way, fold, rows_by, way_of
from dynsel.callbacks.listening.tags import Tag, fits

__all__ = ["LEAST_SPREAD", "GradientNorms"]

# Below this relative spread the norms are constant, as of absolute errors and hinges, and what varies is noise.
LEAST_SPREAD = 1e-3
# Of larger outputs, as logits of a vocabulary, the input of the layer is taken instead.
LARGE = 2**22
FLAT = ("UnsafeViewBackward0", "ViewBackward0", "ReshapeAliasBackward0", "AddBackward0")


class GradientNorms:
    """Hooks the layers nearest to the loss.

    Attributes:
        ways: What the rows of each of them are to the samples; None = not known.
    """

    def __init__(self) -> None:
        self.ways: list[Way | None] = []
        self.squares: Tensor | None = None

    def listen(self, start: Any, hearing: Hearing) -> None:
        """Before the backward pass from the node `start`: hook the layers.

        Args:
            start: Node of what is about to be differentiated.
            hearing: What was heard of the batch.
        """
        self.squares = None
        met = nearest([start], _is_layer, lambda node: False)
        if hearing.effort is Effort.FULL and hearing.size > 1:
            self.ways = []
        for k, node in enumerate(met.found):
            node, shape, tag = self._rows(k, node, met.above, hearing)
            if tag is not None:
                _hook(node, shape, tag, partial(self._hear, size=hearing.size))

    def _rows(self, k: int, node: Any, above: dict[Any, Any], hearing: Hearing) -> tuple[Any, torch.Size, Tag | None]:
        """The node to hook, the shape of its output and the samples there."""
        shape, size = _shape(node, hearing.size), hearing.size
        if hearing.effort is not Effort.FULL:
            # The layer may be followed by a view that has the samples.
            for candidate in (node, above.get(node)):
                way = self.ways[k] if k < len(self.ways) else None
                if candidate is None or way is None or way is Way.TAGS:
                    continue
                shape = _shape(candidate, size)
                if (tag := rows_by(way, shape, size)) is not None:
                    return candidate, shape, tag
            return node, shape, None
        tagged, outer = None, node
        while outer is not None and tagged is None:
            tagged = hearing.nodes.get(outer)
            if tagged is None:
                outer = above.get(outer)
                outer = outer if outer is not None and outer.name() in FLAT else None
        if outer is not None:
            node, shape = outer, _shape(outer, size)
        elif shape[:1] == (size,):
            tagged = rows_by(Way.FIRST, shape, size)
        tag = tagged if tagged is not None and fits(tagged, shape) else None
        if size > 1:
            self.ways.append(None if tag is None else way_of(tag, shape, size))
        return node, shape, tag

    def _hear(self, squares: Tensor, tag: Tag, *, size: int) -> None:
        found = fold(squares, tag, size)
        self.squares = found if self.squares is None else self.squares + found

    def norms(self, size: int, scale: float) -> Tensor | None:
        """(B,) norms of the gradient of the sum of the samples' losses; None if nothing was heard."""
        squares, self.squares = self.squares, None
        return None if squares is None else squares.sqrt() * (size * scale)


def _is_layer(node: Any) -> bool:
    return any(is_parameter(before) for before, _ in node.next_functions)


def _shape(node: Any, size: int) -> torch.Size:
    """Of the node's output; of several the first one with B rows."""
    shapes: Sequence[torch.Size] = [torch.Size(data.shape) for data in getattr(node, "_input_metadata", ())]
    return next((shape for shape in shapes if shape[:1] == (size,)), shapes[0] if shapes else torch.Size([]))


def _hook(node: Any, shape: torch.Size, tag: Tag, hear: Callable[[Tensor, Tag], None]) -> None:
    def at_output(gradients: tuple[Tensor | None, ...]) -> None:
        for gradient in gradients:
            if gradient is not None and gradient.shape == shape:
                hear(gradient.detach().float().square(), tag)

    def at_input(gradients: tuple[Tensor | None, ...], _: Any) -> None:
        for gradient in gradients:
            if gradient is not None and gradient.ndim == 2 and len(gradient) == shape[0]:
                hear(gradient.detach().float().square(), tag)

    if shape.numel() > LARGE and len(shape) == 2 and isinstance(tag, Tensor) and tag.shape[1] == 1:
        node.register_hook(at_input)
    else:
        node.register_prehook(at_output)
