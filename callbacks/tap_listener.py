"""What `DynamicSelection` needs of whoever listens to training steps, and the listener that it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dynsel.callbacks.listening.listener import Told
from dynsel.callbacks.listening.taps import InputTap, LossTap
from dynsel.features.capture import CapturedFeatures
from dynsel.selectors import Selector

__all__ = ["StepListener", "TapListener"]


class StepListener(Protocol):
    """Hears what each batch of a fit tells about its samples; one object per fit."""

    def begin_batch(self, batch_idx: int, size: int, weights: Tensor | None, batch: Any) -> None:
        """Begin to listen to a training step, whose loss is to be weighted by (B,) `weights`, unless None."""

    def leave_weights(self) -> None:
        """The training step weights its loss itself, if it hasn't computed one yet."""

    def before_backward(self, loss: Tensor) -> None:
        """The loss of the step, just before it is differentiated."""

    def end_batch(self, outputs: Any, batch: Any) -> Told:
        """What the batch told, given what the step returned."""

    def skip_batch(self) -> None:
        """Listen no more to the batch at hand, if there is one: it comes to no end."""

    def close(self) -> None:
        """Listen no more, whatever the state; calling it again does nothing."""


class TapListener:
    """Takes per-sample losses, logits and features from what `training_step` calls anyway.

    Args:
        selector: Its `wants` say what is listened for, its `measure` what is made of logits.
        module: The network that trains.
        per_sample_loss: The user's function of (module, batch) that returns (B,) losses, called without gradient.
        automatic: Whether one backward pass follows the step, announced by `before_backward`.
        capture: Collects features while it needs them.

    Raises:
        ValueError: If the module has no submodule from whose inputs features can be captured.
    """

    def __init__(
        self,
        selector: Selector,
        module: nn.Module,
        *,
        per_sample_loss: Callable[[Any, Any], Tensor] | None = None,
        automatic: bool = True,
        capture: CapturedFeatures | None = None,
    ) -> None:
        self.selector, self.module, self.automatic, self.capture = selector, module, automatic, capture
        self._score = per_sample_loss
        self._size = 0
        self._losses: LossTap | None = None
        self._open = False
        self._inputs: InputTap | None = None
        if self._needs_inputs:
            self._inputs = InputTap(module, None if capture is None else capture.module)

    @property
    def _overhears(self) -> bool:
        wants = self.selector.wants
        return "value" in wants or ("per_sample_loss" in wants and self._score is None)

    @property
    def _captures(self) -> bool:
        return self.capture is not None and not self.capture.done

    @property
    def _needs_inputs(self) -> bool:
        return self.selector.measures_features or self._captures

    # ---------------------------------------------------------------- a batch
    def begin_batch(self, batch_idx: int, size: int, weights: Tensor | None, batch: Any) -> None:
        self._stop()
        self._size, self._losses = size, None
        if self._inputs is not None:
            self._inputs.begin()
        if weights is not None or self._overhears:
            self._losses = LossTap(size, weights)
            self._losses.__enter__()  # type: ignore[no-untyped-call]
            self._open = True

    def leave_weights(self) -> None:
        if self._losses is not None and self._open and not self._losses.calls:
            self._losses.leave_weights()

    def before_backward(self, loss: Tensor) -> None:
        # What follows is no concern of ours and shouldn't pay for being listened to. With manual optimization
        # there may be another loss after this one, which must not go unnoticed.
        if self.automatic:
            self._stop()

    def end_batch(self, outputs: Any, batch: Any) -> Told:
        self._stop()
        tap, self._losses = self._losses, None
        inputs, loss, value = self._input(), None, None
        # `training_step` may have returned None to skip the batch.
        if outputs or not self.automatic:
            value = self._value(tap, inputs)
            instead = value is None and "value" in self.selector.wants
            loss = self._loss(tap, outputs, batch, instead or "per_sample_loss" in self.selector.wants)
        features = inputs if self._captures else None
        if self._inputs is not None and not self._needs_inputs:
            self._inputs.remove()
            self._inputs = None
        return Told(loss, value, features)

    def skip_batch(self) -> None:
        self._stop()

    def close(self) -> None:
        self._stop()
        if self._inputs is not None:
            self._inputs.remove()
            self._inputs = None

    def _stop(self) -> None:
        if self._losses is not None and self._open:
            self._losses.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._open = False
        if self._inputs is not None:
            self._inputs.end()

    # ---------------------------------------------------------------- what was heard
    def _loss(self, tap: LossTap | None, outputs: Any, batch: Any, wanted: bool) -> Tensor | None:
        if tap is not None and tap.weights is not None and len(tap.calls) != 1:
            raise RuntimeError(
                _ambiguous("apply the selection's loss weights", tap)
                + "Weight the loss yourself by `trainer.selection.weights(batch_idx)`, asked before it is computed."
            )
        if not wanted:
            return None
        if isinstance(outputs, dict) and "per_sample_loss" in outputs:
            return torch.as_tensor(outputs["per_sample_loss"])
        if self._score is not None:
            with torch.no_grad():
                return self._score(self.module, batch)
        if tap is None or len(tap.calls) != 1:
            raise RuntimeError(
                _ambiguous("find the per-sample losses", tap)
                + "Return a dict with `per_sample_loss`, a (B,) tensor, beside `loss`, or pass "
                "`per_sample_loss=function` to DynamicSelection."
            )
        return tap.calls[0]

    def _value(self, tap: LossTap | None, inputs: Tensor | None) -> Tensor | None:
        """What the selector makes of the batch's logits; None if it needs none, or takes the loss instead."""
        selector = self.selector
        if "value" not in selector.wants:
            return None
        calls = self._logits(tap)
        if len(calls) != 1:
            if selector.value_or_loss:
                return None
            raise RuntimeError(
                f"{type(selector).__name__} can't find the logits: `training_step` made {len(calls)} calls of "
                "F.cross_entropy or F.nll_loss with (B, C) logits and (B,) classes on this batch, 1 is needed; in a "
                "plain loop pass what `selector.measure` gives as `value` to `observe`"
            )
        logits, targets = calls[0]
        with torch.no_grad():
            return selector.measure(logits.float(), targets, None if inputs is None else inputs.float())

    def _logits(self, tap: LossTap | None) -> list[tuple[Tensor, Any]]:
        """Logits and targets of each call that classifies, as far as the selector can use them."""
        calls: list[tuple[Tensor, Any]] = [] if tap is None else list(tap.classified)
        if self.selector.needs_targets:
            return [(logits, targets) for logits, targets in calls if targets.ndim == 1]
        if tap is not None and not tap.calls:
            calls = [(logits, None) for logits in tap.normalized]
        # Several losses of the same logits, as of mixup, are one.
        return list({id(logits): (logits, targets) for logits, targets in calls}.values())

    def _input(self) -> Tensor | None:
        """What the tapped submodule took in."""
        if self._inputs is None or not self._needs_inputs:
            return None
        calls = [call for call in self._inputs.calls if len(call) == self._size]
        if len(calls) != 1:
            raise RuntimeError(
                f"DynamicSelection can't capture features: the submodule was called {len(calls)} times with the "
                f"{self._size} samples of the batch, once is needed. Name another by `features='model:NAME'`, or give "
                "features as an array, a file or 'pixels'."
            )
        return calls[0]


def _ambiguous(purpose: str, tap: LossTap | None) -> str:
    calls = 0 if tap is None else len(tap.calls)
    problem = (
        f"DynamicSelection can't {purpose}: `training_step` made {calls} calls of a usual loss function "
        "(torch.nn.functional or nn.*Loss) on this batch, 1 is needed. "
    )
    if tap is not None and tap.others:
        shapes = ", ".join(str(tuple(shape)) for shape in tap.others[:3])
        problem += (
            f"Calls with inputs of shape {shapes} don't count, they have no row for each of the {tap.size} samples. "
        )
    return problem
