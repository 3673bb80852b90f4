"""What the logits of each batch say of its labels."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.callbacks.listening.losses import CLASSIFIERS
from dynsel.callbacks.listening.parts import LossPart, Part
from dynsel.selectors.verdicts import verdicts

__all__ = ["Verdicts"]


class Verdicts:
    """Reads the logits of a classification with one row and one class a sample, and nothing else.

    Where a step has several such losses, as of auxiliary heads, the one with the largest share of what is
    differentiated counts; where two of them share their logits, as with mixed inputs, no class is that of the sample,
    and nothing is told.
    """

    def __init__(self) -> None:
        self._found: list[tuple[Part, int, dict[str, Tensor]]] = []

    def begin(self) -> None:
        """Before a batch."""
        self._found = []

    def take(self, part: Part, size: int) -> None:
        """Read what a part was given.

        Args:
            part: Armed, with its arguments.
            size: Number of samples in the batch, B.
        """
        if not isinstance(part, LossPart) or part.func not in CLASSIFIERS or not part.first:
            return
        logits, targets = part.call["input"], part.call["target"]
        if logits.ndim != 2 or logits.shape[0] != size or logits.shape[1] < 2 or targets.is_floating_point():
            return
        valid = targets != part.call.get("ignore_index", -100)
        said = verdicts(logits.detach(), torch.where(valid, targets, 0).long())
        said = {name: torch.where(valid, numbers, torch.nan) for name, numbers in said.items()}
        self._found.append((part, id(logits), said))

    def told(self) -> dict[str, Tensor]:
        """(B,) of each of `VERDICTS`; empty where there is nothing to tell. After the backward pass."""
        counted = [one for one in self._found if one[0].coefficient is not None] or self._found
        shared = [logits for _, logits, _ in counted]
        if not counted or len(set(shared)) < len(shared):
            return {}
        return max(counted, key=lambda one: _share(one[0]))[2] if len(counted) > 1 else counted[0][2]


def _share(part: Part) -> float:
    return 0.0 if part.coefficient is None else float(part.coefficient.abs().sum())
