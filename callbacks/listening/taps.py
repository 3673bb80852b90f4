"""What training computes anyway, overheard without a change to the user's `training_step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dynsel.features.capture import find_module

__all__ = ["InputTap", "LossTap"]

# All take (input, target, ..., reduction=...), and the nn.*Loss modules call them.
LOSSES: frozenset[Callable[..., Tensor]] = frozenset(
    {
        F.cross_entropy,
        F.nll_loss,
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
        F.kl_div,
        F.poisson_nll_loss,
        F.gaussian_nll_loss,
        F.soft_margin_loss,
        F.multi_margin_loss,
        F.multilabel_margin_loss,
        F.multilabel_soft_margin_loss,
        F.hinge_embedding_loss,
    }
)


# Those that take logits (of `nll_loss`, normalised ones).
CLASSIFIERS: frozenset[Callable[..., Tensor]] = frozenset({F.cross_entropy, F.nll_loss})
# What losses written by hand start with, as timm's do.
NORMALIZERS: frozenset[Any] = frozenset({F.log_softmax, torch.log_softmax, Tensor.log_softmax})
# Those whose values may cancel out, so that sum and mean don't tell the denominator.
SIGNED: frozenset[Callable[..., Tensor]] = frozenset({F.kl_div, F.poisson_nll_loss, F.gaussian_nll_loss})


class LossTap(TorchFunctionMode):
    """While active, notes the per-sample values of every usual loss of a batch, and applies loss weights to it.

    Without weights the user's loss is untouched, to the bit; the per-sample values are computed beside it. With
    weights the numerator becomes Σ w l and the denominator stays the user's.

    Args:
        size: Number of samples in the batch; a loss of another number of rows is not of this batch.
        weights: (B,) or None.

    Attributes:
        calls: (B,) per-sample losses of each call, detached.
        classified: Logits (B, C) and targets, (B,) classes or (B, C) probabilities, of each call that classifies. They
            are the step's own tensors: whether two calls had the same logits is told by identity.
        normalized: Logits (B, C) of each call of `log_softmax` by the step itself, likewise.
        others: Shapes of the inputs of losses that have another number of rows.
    """

    def __init__(self, size: int, weights: Tensor | None = None) -> None:
        super().__init__()
        self.size, self.weights = size, weights
        self.calls: list[Tensor] = []
        self.classified: list[tuple[Tensor, Tensor]] = []
        self.normalized: list[Tensor] = []
        self.others: list[torch.Size] = []

    def leave_weights(self) -> None:
        """Leave the losses that follow as they are."""
        self.weights = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in LOSSES and torch.is_grad_enabled():
            call = inspect.signature(func).bind(*args, **kwargs)
            first = call.arguments["input"]
            if first.ndim and len(first) == self.size:
                return self._note(func, call, result)
            self.others.append(first.shape)
        elif func in NORMALIZERS and torch.is_grad_enabled():
            logits = args[0] if args else kwargs["input"]
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if logits.ndim == 2 and len(logits) == self.size and dim in (1, -1):
                self.normalized.append(logits)
        return result

    def _note(self, func: Any, call: inspect.BoundArguments, result: Tensor) -> Tensor:
        reduction = call.arguments.get("reduction", "mean")
        if call.arguments.pop("size_average", None) is False:
            reduction = "sum"
        call.arguments.pop("reduce", None)  # as the one before, it would override the reduction
        call.arguments["reduction"] = "none"
        if func in CLASSIFIERS:
            logits, target = call.arguments["input"], call.arguments["target"]
            if logits.ndim == 2:
                self.classified.append((logits, target))
        if self.weights is None:
            with torch.no_grad():
                self.calls.append(_rows(func(*call.args, **call.kwargs)))
            return result
        values: Tensor = func(*call.args, **call.kwargs)
        self.calls.append(_rows(values).detach())
        weights = self.weights.to(values).view(-1, *[1] * (values.ndim - 1))
        if result.ndim:
            return values * weights
        return (values * weights).sum() / _denominator(func, reduction, values.detach(), result.detach())


def _denominator(func: Any, reduction: str, values: Tensor, result: Tensor) -> Tensor | int:
    """What the user's loss divided the sum of `values` by."""
    if func in SIGNED:
        return {"mean": values.numel(), "batchmean": len(values)}.get(reduction, 1)
    # Class weights, ignored targets: without knowing the formula.
    return torch.where(result != 0, values.sum() / result, float(values.numel()))


def _rows(values: Tensor) -> Tensor:
    """Mean over everything but the samples."""
    return values.flatten(1).mean(1) if values.ndim > 1 else values


class InputTap:
    """Notes what a submodule takes in during one batch.

    Args:
        model: The model.
        name: Dotted name of the submodule; None = its last linear layer.

    Raises:
        ValueError: If the model has no such submodule.
    """

    def __init__(self, model: nn.Module, name: str | None) -> None:
        self._active = False
        self.calls: list[Tensor] = []
        self._handle = find_module(model, name).register_forward_pre_hook(self._hook)
        # What was compiled before the hook came would go on without it: hooks are not among the compiler's guards.
        if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in model.modules()):
            torch.compiler.reset()

    def begin(self) -> None:
        """Note what is taken in from here on, and nothing of before."""
        self.calls.clear()
        self._active = True

    def end(self) -> None:
        """Note nothing more."""
        self._active = False

    def _hook(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._active and inputs and isinstance(inputs[0], Tensor):
            self.calls.append(inputs[0].detach())

    def remove(self) -> None:
        """Take the hook off the model."""
        self._handle.remove()
