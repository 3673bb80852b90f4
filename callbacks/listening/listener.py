"""The chain by which the numbers of a sample are found in an unchanged training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dynsel.callbacks.listening.hearing import Hearing, Part
from dynsel.selectors import Selector

__all__ = ["Listener", "Told"]


class Told(NamedTuple):
    """What a batch told about its samples; None = nothing, NaN = nothing about this sample.

    Attributes:
        per_sample_loss: (B,) float32.
        value: (B,) float32, what the selector's `measure` made of the logits.
        features: (B, d), what the submodule took in whose inputs are the features.
    """

    per_sample_loss: Tensor | None = None
    value: Tensor | None = None
    features: Tensor | None = None


class Listener:
    """Hears what each batch tells about its samples. One object a fit.

    For each batch in turn: `begin_batch`, the user's step, `before_backward` with what it is going to differentiate,
    the backward pass, `end_batch`. Where nobody calls `before_backward` (a step that differentiates by itself), pass
    `automatic=False`.

    Args:
        selector: Its `wants` say what is listened for, its `measure` what is made of logits.
        module: The network that trains; needed for features and for `per_sample_loss`.
        per_sample_loss: The user's function of (module, batch) that returns (B,) losses.
        automatic: Whether one backward pass follows the step, announced by `before_backward`.
        scale: What the announced loss must be multiplied by to be the user's own: number of accumulated batches by
            the factor of a gradient scaler.
        epochs: Length of the training, where known.

    Attributes:
        description: What was listened to in the last batch, for people.

    Example:
        >>> import torch
        >>> import torch.nn.functional as F
        >>> from dynsel.selectors import InfoBatch
        >>> net, batch = torch.nn.Linear(2, 3), (torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]))
        >>> listener = Listener(InfoBatch(), net)
        >>> listener.begin_batch(0, 4, None, batch)
        >>> loss = F.cross_entropy(net(batch[0]), batch[1])
        >>> listener.before_backward(loss)
        >>> loss.backward()
        >>> told = listener.end_batch({"loss": loss}, batch)
        >>> listener.close()
        >>> torch.allclose(told.per_sample_loss.mean(), loss)
        True
        >>> listener.description
        'cross_entropy × 1'
    """

    def __init__(
        self,
        selector: Selector,
        module: nn.Module | None = None,
        *,
        per_sample_loss: Callable[[Any, Any], Tensor] | None = None,
        automatic: bool = True,
        scale: Callable[[], float] = lambda: 1.0,
        epochs: int | None = None,
    ) -> None:
        self.selector, self.module, self.automatic = selector, module, automatic
        self.description = ""
        self._score, self._scale, self._epochs = per_sample_loss, scale, epochs
        self._hearing: Hearing | None = None
        self._open = False
        self._size = 0

    def begin_batch(self, batch_idx: int, size: int, weights: Tensor | None, batch: Any) -> None:
        """Start listening.

        Args:
            batch_idx: Number of the batch in its epoch.
            size: B, number of samples in the batch.
            weights: (B,) loss weights, or None if all are 1.
            batch: What the user's step is given.
        """
        self.close()
        self._size = size
        self._hearing = Hearing(size)
        self._hearing.__enter__()  # type: ignore[no-untyped-call]
        self._open = True

    def before_backward(self, loss: Tensor) -> None:
        """What is going to be differentiated; in automatic optimization nothing after it is of interest."""
        assert self._hearing is not None
        if self.automatic:
            self._stop()
        self._hearing.expect(loss)

    def end_batch(self, outputs: Any, batch: Any) -> Told:
        """What the batch told.

        Args:
            outputs: What the step returned; a dict may have `per_sample_loss`, (B,).
            batch: As for `begin_batch`.
        """
        self._stop()
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return Told()
        if isinstance(outputs, dict) and "per_sample_loss" in outputs:
            self.description = "per_sample_loss"
            return Told(torch.as_tensor(outputs["per_sample_loss"]).detach())
        parts = [part for part in hearing.parts if part.coefficient is not None]
        scale = self._scale()
        self.description = " + ".join(f"{part.name} × {float(part.coefficient.sum()) * scale:.3g}" for part in parts)
        return Told(sum_of(parts, scale))

    def close(self) -> None:
        """Stop listening, whatever the state."""
        self._stop()
        self._hearing = None

    def _stop(self) -> None:
        if self._open and self._hearing is not None:
            self._hearing.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._open = False


def sum_of(parts: list[Part], scale: float) -> Tensor | None:
    """(B,) sum of the parts' values, each by its coefficient."""
    total = None
    for part in parts:
        assert part.values is not None
        assert part.coefficient is not None
        value = part.values * (part.coefficient * scale)
        total = value if total is None else total + value
    return total
