"""Features that the network computes anyway: what one of its submodules takes in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynsel.features.capture import CapturedFeatures, find_module
from dynsel.selectors import Selector

__all__ = ["Features", "InputTap"]


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

    def pause(self) -> None:
        """Note nothing until the next batch."""
        self.active = False

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


class Features:
    """The features of each batch's samples, as long as anybody needs them.

    Args:
        selector: Its `measures_features` says whether it needs them at every batch.
        module: Model in training; needed if there are features to note.
        capture: Collects features while it needs them.

    Raises:
        ValueError: If the module has no submodule from whose inputs features can be captured.
    """

    def __init__(self, selector: Selector, module: nn.Module | None, capture: CapturedFeatures | None) -> None:
        self._measures, self._capture = selector.measures_features, capture
        self._tap: InputTap | None = None
        if self._needed:
            assert module is not None
            self._tap = InputTap(module, None if capture is None else capture.module)

    @property
    def _captures(self) -> bool:
        return self._capture is not None and not self._capture.done

    @property
    def _needed(self) -> bool:
        return self._measures or self._captures

    def begin(self) -> None:
        """Before a batch."""
        if self._tap is not None:
            self._tap.begin()

    def measured(self, size: int) -> Tensor | None:
        """(B, ...), for a selector that measures them; None for others."""
        return self._tap.rows(size) if self._measures and self._tap is not None else None

    def end(self, size: int) -> Tensor | None:
        """(B, ...), to be collected; None if nobody does any more. The batch is over."""
        if self._tap is None:
            return None
        self._tap.pause()
        if not self._needed:
            self.close()
        return self._tap.rows(size) if self._tap is not None and self._captures else None

    def pause(self) -> None:
        """Note nothing until the next batch."""
        if self._tap is not None:
            self._tap.pause()

    def close(self) -> None:
        """Take the hook off the model."""
        if self._tap is not None:
            self._tap.remove()
            self._tap = None
