"""Losses inside compiled code: which samples their rows belong to, where nothing can be followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dynsel.callbacks.listening.losses import TARGETS, first
from dynsel.callbacks.listening.parts import LossPart
from dynsel.callbacks.listening.rows import Way, rows_by
from dynsel.callbacks.listening.tags import Tags

__all__ = ["CompiledPart", "way_by_targets"]

# Places that targets may be shifted by, as those of the next words are by one.
SHIFTS = 8


class CompiledPart(LossPart):
    """A call of a usual loss inside compiled code, which has the values among its outputs.

    Args:
        func: The loss function.
        call: Its arguments by name.
        result: What it returned.
        values: Numerators of the rows.
        counts: Their denominators; None = 1 each.
        probe: The zero that was added to the result; it receives the derivative.
    """

    def __init__(
        self,
        func: Callable[..., Tensor],
        call: dict[str, Any],
        result: Tensor,
        values: Tensor,
        counts: Tensor | None,
        probe: Tensor,
    ) -> None:
        super().__init__(func, call, result, None, None)
        self.values, self.counts, self.probe = values, counts, probe
        self.weighable = False

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Numerators and denominators of the rows, as the compiled code gave them."""
        return self.values, self.counts

    def collect(self) -> None:
        """Take the coefficient from the probe."""
        self.coefficient = None if self.probe.grad is None else self.probe.grad.detach().clone()

    def belong_by(self, way: Way, size: int) -> None:
        """Take its rows for those of B samples, by the pattern."""
        tag = 0 if size == 1 else rows_by(way, self.shape, size)
        self.belong(tag, first=way is Way.FIRST and self.shape[:1] == (size,))

    def way(self, tags: Tags) -> Way | None:
        """How its rows lie, by comparing the targets with those of the batch; None if they are of no known order.

        Args:
            tags: Of the batch's own tensors.
        """
        target = first(self.call, TARGETS)
        found = way_by_targets(target, self.shape, tags) if isinstance(target, Tensor) else "unknown"
        if found == "unknown":
            found = Way.FIRST if self.shape[:1] == (tags.size,) else Way.BLOCKS
            rank_zero_warn(
                f"DynamicSelection: {self.name} is computed inside compiled code from targets that aren't those of the "
                "batch, so that nothing tells which rows are of which sample; they are taken to lie sample by sample. "
                "If they don't, compute the loss outside of it, or return a dict with `per_sample_loss`, a (B,) "
                "tensor, beside `loss`."
            )
        return None if isinstance(found, str) else found


def way_by_targets(target: Tensor, shape: torch.Size, tags: Tags) -> Way | str:
    """How rows lie whose targets are those of a batch, perhaps shifted or padded.

    Args:
        target: What a loss was given.
        shape: Shape of its values, which has as many rows.
        tags: Of the batch's own tensors.

    Returns:
        The pattern; "mixed" if the targets are the batch's in another order; "unknown" if they are others.
    """
    size = tags.size
    if not shape or shape.numel() % size or target.shape[:1] != shape[:1]:
        return "unknown"
    ways = [Way.FIRST] if shape[0] == size else [Way.BLOCKS, Way.CYCLES]
    verdict = "unknown"
    for tensor, dim in tags.batch():
        own = tensor.to(target.device, target.dtype).movedim(dim, 0).reshape(size, -1)
        for way in ways:
            rows = target.reshape(-1, size, *target.shape[1:]).transpose(0, 1) if way is Way.CYCLES else target
            if _holds(own, rows.reshape(size, -1)):
                return way
        if own.numel() == target.numel() and torch.equal(own.flatten().sort()[0], target.flatten().sort()[0]):
            verdict = "mixed"
    return verdict


def _holds(own: Tensor, rows: Tensor) -> bool:
    """Whether the rows (B, k) stand in the samples' own numbers (B, n), from one of the first places on.

    What is ignored, below 0, may be anything, and so may the last row, where a shift has run out of numbers.
    """
    for start in range(min(SHIFTS, own.shape[1])):
        length = min(rows.shape[1], own.shape[1] - start)
        same = (rows[:, :length] == own[:, start : start + length]) | (rows[:, :length] < 0)
        if length >= rows.shape[1] - (rows.shape[1] > 2) and bool(same.all()):
            return True
    return False
