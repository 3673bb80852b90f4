"""Loss weights reach the loss by the gradients of the arguments of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dynsel.callbacks.listening.compiled import CompiledPart
from dynsel.callbacks.listening.parts import Part
from dynsel.callbacks.listening.rows import spread

__all__ = ["Weighing", "refusal", "weighed"]


class Weighing:
    """Weights the samples of one batch.

    Args:
        weights: (B,).
        correction: Of a part that has just been noted and the weights: what its result lacks to be the weighted one;
            None if that isn't known.
    """

    def __init__(self, weights: Tensor, correction: Callable[[Part, Tensor], Tensor | None]) -> None:
        self.weights, self._correction = weights, correction

    def weigh(self, part: Part, gradient: Tensor) -> Tensor:
        """The gradient of an argument of the part, weighted.

        Raises:
            RuntimeError: If the samples of its rows aren't known.
        """
        return weighed(part, gradient, self.weights)

    def correct(self, part: Part, result: Tensor) -> Tensor:
        """The result of the part with the value that it has with the weights."""
        with torch.no_grad():
            extra = self._correction(part, self.weights)
        return result if extra is None else result + extra.to(result.dtype)


def weighed(part: Part, gradient: Tensor, weights: Tensor) -> Tensor:
    """The gradient of a part's argument, each row by the weight of its sample.

    Raises:
        RuntimeError: If the samples of the rows aren't known.
    """
    if not part.armed:
        return gradient
    tag = part.rows_of(gradient.shape)
    if tag is None:
        raise RuntimeError(f"the rows of an argument of {part.name}, {tuple(gradient.shape)}, can't be weighted")
    return gradient * spread(weights, tag, gradient).to(gradient.dtype)


def refusal(parts: Sequence[Part]) -> str:
    """What to say where weights can't reach a loss of these parts."""
    whole = "part of the loss of" if any(part.weighable for part in parts) else "the loss of"
    inside = any(isinstance(part, CompiledPart) for part in parts)
    why = "is computed inside compiled code" if inside else "comes from the samples by a way that can't be followed"
    return (
        f"DynamicSelection can't apply the selection's loss weights: {whole} `training_step` {why}. "
        + ("Compute it outside of the compiled function, or weight" if inside else "Weight")
        + " the loss yourself by `trainer.selection.weights(batch_idx)`, asked before it is computed, or take a "
        "selector without loss weights."
    )
