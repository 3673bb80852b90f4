"""Hears what each batch of an unchanged training step tells about its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynsel._lib.batches import scored
from dynsel.callbacks.listening.chain import Chain
from dynsel.callbacks.listening.features import Features
from dynsel.callbacks.listening.graph import nearest
from dynsel.callbacks.listening.heard import Heard, Rule
from dynsel.callbacks.listening.hearing import Hearing
from dynsel.callbacks.listening.layout import Layout, Path
from dynsel.callbacks.listening.logits import Logits
from dynsel.callbacks.listening.parts import LossPart, Part
from dynsel.callbacks.listening.verdicts import Verdicts
from dynsel.callbacks.listening.weighing import Weighing, refusal
from dynsel.features.capture import CapturedFeatures
from dynsel.selectors import Selector
from dynsel.selectors.verdicts import VERDICTS

__all__ = ["Listener", "Told"]

# Calls of losses inside compiled code that are heard.
PROBES = 8


class Told(NamedTuple):
    """What a batch told about its samples; None = nothing, NaN = nothing about this sample.

    Attributes:
        per_sample_loss: (B,) float32.
        value: (B,) float32, what the selector's `measure` made of the logits.
        features: (B, ...), what the submodule took in whose inputs are the features.
        verdicts: What the logits say of the labels, (B,) float32 by name (see `dynsel.selectors.verdicts`); None where
            it isn't listened for.
    """

    per_sample_loss: Tensor | None = None
    value: Tensor | None = None
    features: Tensor | None = None
    verdicts: Mapping[str, Tensor] | None = None


class Listener:
    """Hears what each batch tells about its samples. One object a fit.

    For each batch in turn: `begin_batch`, the user's step, `before_backward` with what it is going to differentiate,
    the backward pass, `end_batch`. A step that differentiates by itself (`automatic=False`) may announce each of its
    backward passes by `before_backward`, or none of them.

    The per-sample losses come from the first of these that gives any, for the whole fit: what the step returns or the
    user's function; the usual losses, means and sums that the step computes, each by its derivative in what is
    differentiated; the norm of the sample's gradient at the last layers; the loss of the batch.

    Args:
        selector: Its `wants` say what is listened for, its `measure` what is made of logits.
        module: The network that trains; needed for features and for `per_sample_loss`.
        per_sample_loss: The user's function of (module, batch) that returns (B,) losses.
        automatic: Whether one backward pass follows the step, announced by `before_backward`.
        scale: What the announced loss must be multiplied by to be the user's own: number of accumulated batches by
            the factor of a gradient scaler.
        epochs: Length of the training; None where it isn't known.
        capture: Collects features while it needs them.
        axis_of: The dimension of the samples in a tensor of the batch by the path to it, as the collate function lays
            them; None = not known.
        judges: Whether to listen for what the logits say of the labels, whatever the selector wants.

    Raises:
        ValueError: If the module has no submodule from whose inputs features can be captured.

    Attributes:
        heard: What is listened to.

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
        >>> listener.heard.rule.name
        'LOSSES'
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
        capture: CapturedFeatures | None = None,
        axis_of: Callable[[Path], int | None] | None = None,
        judges: bool = False,
    ) -> None:
        self.selector, self.module, self.automatic = selector, module, automatic
        self._score, self._scale = per_sample_loss, scale
        self._chain, self._logits, self._layout = Chain(epochs), Logits(selector), Layout(axis_of)
        self._verdicts = Verdicts() if judges or selector.wants & VERDICTS else None
        # What the losses and the values come from, once it is known.
        self._told = ""
        self._values = ""
        self._announced_description = ""
        self._probes: list[Tensor] = []
        self._features = Features(selector, module, capture)
        self._hearing: Hearing | None = None
        self._open = False
        self._batch_idx, self._size = 0, 0
        self._weights: Tensor | None = None
        self._passes, self._factor = 0, 1.0
        self._loss: Tensor | None = None

    @property
    def heard(self) -> Heard:
        """What is listened to, so far."""
        name = type(self.selector).__name__
        value = {"logits": f"{name} measures the logits", "loss": f"{name} takes the loss for want of logits", "": ""}
        rule = Rule.TOLD if self._told else self._chain.rule
        return Heard(rule, self._told or self._chain.description, value[self._values])

    @property
    def description(self) -> str:
        """What is listened to, for people; empty before the first batch ends."""
        return str(self.heard)

    # ---------------------------------------------------------------- one batch
    def begin_batch(self, batch_idx: int, size: int, weights: Tensor | None, batch: Any) -> None:
        """Start listening.

        Args:
            batch_idx: Number of the batch in its epoch.
            size: B, number of samples in the batch.
            weights: (B,) loss weights, or None if all are 1. They reach the loss without being asked to.
            batch: What the user's step is given.
        """
        self._close_batch()
        self._batch_idx, self._size, self._weights = batch_idx, size, weights
        self._passes, self._loss = 0, None
        self._features.begin()
        if self._verdicts is not None:
            self._verdicts.begin()
        if weights is None and not self._overhears:
            return
        self._chain.begin(batch, self._layout, size)
        self._logits.begin()
        self._hearing = Hearing(
            size,
            batch,
            self._chain.effort,
            None if self.automatic else self._noted,
            None if weights is None else Weighing(weights, self._correction),
            self._fresh_probes(batch),
            self._layout,
        )
        self._hearing.__enter__()  # type: ignore[no-untyped-call]
        self._open = True

    @property
    def _overhears(self) -> bool:
        wants = self.selector.wants
        # Where the loss had to stand in for the value, there were no logits.
        if (self._verdicts is not None or "value" in wants) and self._values != "loss":
            return True
        return bool(wants & {"per_sample_loss", "value"}) and not self._told and self._score is None

    def leave_weights(self) -> None:
        """Leave the weights to the step, which has asked for them before it computed a loss."""
        if self._open and self._hearing is not None and self._hearing.leave_weights():
            self._weights = None

    def _correction(self, part: Part, weights: Tensor) -> Tensor | None:
        return None if self._hearing is None else self._chain.overheard.correction(part, self._hearing, weights)

    def _fresh_probes(self, batch: Any) -> list[Tensor]:
        """Leaves for what is heard inside compiled code, the same ones each time, so that it isn't compiled again."""
        if not self._probes:
            device = next((leaf.device for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)), None)
            self._probes = [torch.zeros((), device=device, requires_grad=True) for _ in range(PROBES)]
        for probe in self._probes:
            probe.grad = None
        return self._probes

    def before_backward(self, loss: Tensor) -> None:
        """What is going to be differentiated; in automatic optimization nothing after it is of interest.

        Raises:
            RuntimeError: If loss weights can't reach it.
        """
        if self._hearing is None:
            return
        if self.automatic:
            self._stop()
        if not self._passes:
            self._forget_early(self._hearing)
        self._passes += 1
        self._factor = self._scale()
        own = loss.detach().float() * self._factor
        self._loss = own if self._loss is None else self._loss + own
        if loss.grad_fn is not None:
            with torch.no_grad(), torch._C.DisableTorchFunction():
                self._expect(loss.grad_fn, self._hearing)

    @staticmethod
    def _forget_early(hearing: Hearing) -> None:
        """Whatever was differentiated inside the step, as for a penalty on gradients, is not the loss."""
        for part in hearing.parts:
            part.restart()

    def _expect(self, start: Any, hearing: Hearing) -> None:
        parts = self._chain.expect(start, hearing, self._armed)
        if "value" in self.selector.wants and not any(isinstance(part, LossPart) for part in parts):
            nodes = [part.node for part in parts] or [start]
            self._logits.take_normalized(nodes, hearing, self._features.measured(self._size))
        if self._weights is not None and self._chain.overheard.misses_some(parts):
            raise RuntimeError(refusal(parts))

    def _armed(self, part: Part) -> None:
        assert self._hearing is not None
        if self._verdicts is not None:
            self._verdicts.take(part, self._hearing.size)
        if "value" in self.selector.wants:
            self._logits.take(part, self._hearing, self._features.measured(self._size))

    def _noted(self, part: Part) -> None:
        """Manual optimization: a backward pass may come unannounced."""
        part.watch(self._unannounced)

    def _unannounced(self, part: Part) -> None:
        hearing = self._hearing
        part.watch(None)
        if hearing is None or self._passes:
            return
        self._factor = self._scale()
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if not self._chain.overheard.resolve(part, hearing):
                return
            self._chain.overheard.arm(part, hearing, self._armed)
            noted = {other.node: other for other in hearing.parts}
            behind = nearest((n for n, _ in part.node.next_functions), noted.__contains__, lambda node: False)
            for node in behind.found:
                noted[node].watch(None)

    def end_batch(self, outputs: Any, batch: Any) -> Told:
        """What the batch told.

        Args:
            outputs: What the step returned; a dict may have `per_sample_loss`, (B,). None = the batch was skipped.
            batch: As for `begin_batch`.

        Raises:
            RuntimeError: If the selector needs what no rule can find.
        """
        self._stop()
        hearing, self._hearing = self._hearing, None
        if not outputs and self.automatic:
            self._features.end(self._size)
            return Told()
        features = self._features.end(self._size)
        with torch.no_grad():
            loss = self._told_loss(outputs, batch)
            if hearing is not None:
                heard = self._chain.losses(hearing, self._loss, self._factor)
                loss = heard if loss is None else loss
            value = self._value(loss) if "value" in self.selector.wants else None
        self._announce()
        return Told(loss, value, features, None if self._verdicts is None else self._verdicts.told())

    def _told_loss(self, outputs: Any, batch: Any) -> Tensor | None:
        if isinstance(outputs, dict) and "per_sample_loss" in outputs:
            self._told = "per_sample_loss, as the step returns it"
            return torch.as_tensor(outputs["per_sample_loss"]).detach()
        self._told = ""
        wants = self.selector.wants
        instead = "value" in wants and self.selector.value_or_loss and not self._logits.measured
        wanted = "per_sample_loss" in wants or (instead and self._values != "logits")
        if self._score is None or not wanted:
            return None
        self._told = "per_sample_loss, the function"
        assert self.module is not None
        return scored(self._score, self.module, batch, self._size, key=(self._batch_idx,))

    def _value(self, loss: Tensor | None) -> Tensor | None:
        value = self._logits.value()
        if not self._values:
            if value is not None:
                self._values = "logits"
            elif self.selector.value_or_loss:
                self._values = "loss"
            elif self._loss is not None:
                raise RuntimeError(
                    f"{type(self.selector).__name__} can't find the logits: `training_step` calls no F.cross_entropy "
                    "or F.nll_loss with classes whose rows are the samples of the batch or belong to them. Take a "
                    "selector that needs none, as 'hybrid', 'infobatch', 'epsilon_greedy', 'ucb' or 'random'; in a "
                    "plain loop pass what `selector.measure` gives as `value` to `observe`"
                )
        return loss if self._values == "loss" else value

    def _announce(self) -> None:
        if self.description and self.description != self._announced_description:
            self._announced_description = self.description
            rank_zero_info(f"listening: {self.description}")

    # ---------------------------------------------------------------- the end
    def skip_batch(self) -> None:
        """Listen no more to the batch at hand, if there is one: it comes to no end."""
        self._close_batch()
        self._features.pause()

    def close(self) -> None:
        """Stop listening, whatever the state."""
        self._close_batch()
        self._features.close()

    def _close_batch(self) -> None:
        self._stop()
        self._hearing = None

    def _stop(self) -> None:
        if self._open and self._hearing is not None:
            self._hearing.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._open = False
