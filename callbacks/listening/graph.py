"""Walks back through the graph from what is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Met", "has_foreign", "is_affine", "is_parameter", "is_shape", "nearest", "root"]

# Nodes through which a sum stays a sum; of products and quotients one side alone may need gradients.
SUMS = frozenset(("Add", "Sub", "Rsub", "Neg", "Sum", "Mean", "Nansum", "Cat", "Stack", "Index", "Trace", "CopySlices"))
PRODUCTS = frozenset(("Mul", "Div", "Dot", "Mv", "Mm", "Bmm"))
SHAPES = frozenset(
    [
        *("ToCopy", "View", "UnsafeView", "ReshapeAlias", "Select", "Slice", "Unbind", "Split", "Squeeze", "Unsqueeze"),
        *("T", "Transpose", "Permute", "Expand", "Alias", "Clone", "Diagonal"),
    ]
)


class Met(NamedTuple):
    """What a walk met.

    Attributes:
        found: The noted nodes, each the first one on its way.
        above: The node that each visited one was reached from.
        stopped: Whether a way ended at a node it was to stop at.
        leaves: Whether a way ended in a parameter without meeting anything.
    """

    found: list[Any]
    above: dict[Any, Any]
    stopped: bool
    leaves: bool


def root(loss: Tensor) -> Any:
    """The node of what is differentiated."""
    return loss.grad_fn


def nearest(start: Iterable[Any], is_noted: Callable[[Any], bool], is_end: Callable[[Any], bool]) -> Met:
    """The noted nodes that something is made of: on each way back the first one.

    Args:
        start: Nodes to start from.
        is_noted: Whether to take the node, and go no further.
        is_end: Whether to go no further without taking it.
    """
    above: dict[Any, Any] = dict.fromkeys(node for node in start if node is not None)
    todo, found, stopped, leaves = list(above), [], False, False
    while todo:
        node = todo.pop()
        if is_noted(node):
            found.append(node)
            continue
        if is_end(node):
            stopped = True
            continue
        before = [n for n, _ in node.next_functions if n is not None]
        leaves = leaves or not before
        for n in before:
            if n not in above:
                above[n] = node
                todo.append(n)
    return Met(found, above, stopped, leaves)


def is_shape(node: Any) -> bool:
    """Whether the node only takes numbers to another place."""
    return _name(node) in SHAPES


def is_affine(node: Any, above: dict[Any, Any]) -> bool:
    """Whether what the walk started from is a constant and a weighted sum of the node's numbers.

    Args:
        node: A node that a walk came by.
        above: The node that each one was reached from, as in `Met`.
    """
    while (node := above.get(node)) is not None:
        ways = sum(before is not None for before, _ in node.next_functions)
        if not (is_shape(node) or _name(node) in SUMS) and not (_name(node) in PRODUCTS and ways == 1):
            return False
    return True


def _name(node: Any) -> str:
    name: str = node.name()
    return name.rstrip("0123456789").removesuffix("Backward")


def has_foreign(node: Any, limit: int = 10_000) -> bool:
    """Whether something behind the node is a custom function or a compiled network, through which tags don't go."""
    seen, todo = {node}, [node]
    while todo and len(seen) < limit:
        node = todo.pop()
        # Nodes that Python defines have the attributes of their class; torch's own have a bare name.
        if hasattr(node, "_forward_cls") or hasattr(node, "saved_tensors"):
            return True
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                todo.append(before)
    return False


def is_parameter(node: Any) -> bool:
    """Whether the node stands for a parameter of a layer, as it is or transposed or cast."""
    for _ in range(3):
        if node is None:
            return False
        if hasattr(node, "variable"):
            return bool(node.variable.ndim)
        if node.name() not in ("TBackward0", "ToCopyBackward0", "TransposeBackward0", "ViewBackward0"):
            return False
        node = node.next_functions[0][0]
    return False
