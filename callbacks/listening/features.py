"""Features that the network computes anyway: what one of its submodules takes in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynsel.features.capture import find_module

__all__ = ["InputTap"]


class InputTap:
    """Notes what a submodule takes in during one batch.

    Args:
        model: Model in training, whose submodule is listened to.
        name: Dotted name of the submodule; None = its last linear layer.

    Raises:
        ValueError: If the model has no such submodule.
    """

    def __init__(self, model: nn.Module, name: str | None) -> None:
        self.active = False
        self.calls: list[Tensor] = []
        self._handle = find_module(model, name).register_forward_pre_hook(self._hook)
        # What was compiled before the hook came would go on without it: hooks are not among the compiler's guards.
        if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in model.modules()):
            torch.compiler.reset()

    def _hook(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self.active and inputs and isinstance(inputs[0], Tensor):
            self.calls.append(inputs[0].detach())

    def begin(self) -> None:
        """Before a batch."""
        self.calls.clear()
        self.active = True

    def rows(self, size: int) -> Tensor:
        """(B, ...) what it took in.

        Raises:
            RuntimeError: Unless it was called once with the B samples of the batch.
        """
        calls = [call for call in self.calls if call.ndim and len(call) == size]
        if len(calls) != 1:
            raise RuntimeError(
                f"DynamicSelection can't capture features: the submodule was called {len(calls)} times with the "
                f"{size} samples of the batch, once is needed. Name another by `features='model:NAME'`, or give "
                "features as an array, a file or 'pixels'."
            )
        return calls[0]

    def remove(self) -> None:
        """Take the hook off the model."""
        self._handle.remove()
