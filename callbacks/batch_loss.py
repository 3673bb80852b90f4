"""The loss of a batch, as `training_step` returned it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["returned_loss"]


def returned_loss(outputs: Any, accumulate: int, asks: str) -> Tensor | None:
    """The mean loss of a batch, a scalar without gradient; None if the batch was skipped.

    Args:
        outputs: What Lightning passes on of what `training_step` returned.
        accumulate: Batches per optimiser step.
        asks: Name of the selector that goes by it.

    Raises:
        RuntimeError: If there is no loss in it.
    """
    if outputs is None:
        return None
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if isinstance(loss, Tensor) and loss.numel() == 1:
        # Lightning has divided it for the accumulation of gradients.
        return loss.detach().reshape(()) * accumulate
    raise RuntimeError(
        f"{asks} goes by the losses of batches, and `training_step` returned none: return "
        "the loss, a scalar tensor, or a dict that has it as `loss`"
    )
