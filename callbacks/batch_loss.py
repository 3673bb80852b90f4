"""The loss of a batch, as `training_step` returned it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynsel.callbacks.listening import Told
from dynsel.selectors import Selector

__all__ = ["loss_if_asked", "returned_loss"]


def loss_if_asked(selector: Selector, told: Told, outputs: Any, accumulate: int) -> Tensor | None:
    """The loss of a batch, where the selector goes by it; else None, also where the mean of its samples' stands for it.

    That stands for it where the selector compares both, or the step itself tells its samples' losses: in every batch of
    a training or in none, for numbers of two kinds can't be averaged. What is overheard of the samples where loss
    weights have to reach them doesn't count.

    Args:
        selector: Its `wants` say whether it goes by losses of batches.
        told: What was heard of the batch's samples.
        outputs: What `training_step` returned, as `returned_loss` takes it.
        accumulate: Batches per optimiser step, by which the loss was divided.

    Returns:
        A scalar without gradient, or None.

    Raises:
        RuntimeError: If there is no loss in what was returned.
    """
    own = "per_sample_loss" in selector.wants or (isinstance(outputs, Mapping) and "per_sample_loss" in outputs)
    if "batch_loss" not in selector.wants or (own and told.per_sample_loss is not None):
        return None
    return returned_loss(outputs, accumulate, type(selector).__name__)


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
