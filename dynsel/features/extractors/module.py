"""Features of a model of one's own: what a named submodule takes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_path, check_text
from dynsel._lib.normalize import Normalize
from dynsel._lib.tensor_files import load_weights
from dynsel.features.capture import find_module
from dynsel.features.extractors.base import Extractor, weights_hash

__all__ = ["ModuleInput"]


class ModuleInput(Extractor):
    """What a submodule of any `nn.Module` or LightningModule takes in, flattened.

    The data set's own transform prepares the items; PIL images become uint8 tensors.

    Args:
        model: Any module that is called with a batch of inputs.
        weights: `.safetensors` file of the model's state dict; None leaves the model as it is.
        layer: Dotted name of the submodule; None = the model's last `nn.Linear`, as for features captured in training.
        mean: Mean of each channel, for pixels in [0, 1]; with it and `std`, inputs that are uint8 or in [0, 1] are
            normalized. None = they stay as they are.
        std: Standard deviation of each channel, for pixels in [0, 1].

    Raises:
        FileNotFoundError: If there is no such weights file.
        ValueError: If it doesn't fit the model, the model has no such submodule, or one of `mean` and `std` is missing.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: str | None = None,
        layer: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be a torch.nn.Module, got {model!r}")
        if weights is not None:
            check_path("weights", weights)
        if layer is not None:
            check_text("layer", layer, "a submodule's name")
        if (mean is None) != (std is None):
            raise ValueError(f"`mean` and `std` go together, got {mean!r} and {std!r}")
        if weights is not None:
            load_weights(model, weights)
        self.model, self.layer = model, layer
        self.normalize: nn.Module = nn.Identity()
        if mean is not None and std is not None:
            self.normalize = Normalize(mean, std)
        try:
            find_module(model, layer)  # now rather than at the first batch
        except ValueError as error:
            raise ValueError(f"`layer` must name a submodule: {error}") from error

    def prepare(self, value: Any) -> Any:
        """A tensor of an image or array; anything else as it is.

        Args:
            value: What the data set gives as input.
        """
        from PIL import Image

        if isinstance(value, Image.Image):
            return torch.from_numpy(np.asarray(value.convert("RGB")).copy()).permute(2, 0, 1)
        return value

    def forward(self, batch: Any) -> Tensor:
        """(B, d) floating point.

        Args:
            batch: A batch of what the model takes.

        Raises:
            ValueError: If the submodule wasn't called exactly once, or with something that is no (B, ...) tensor.
        """
        taken: list[Any] = []
        handle = find_module(self.model, self.layer).register_forward_pre_hook(
            lambda _, args: taken.append(args[0] if args else None)
        )
        try:
            inputs = self.normalize(batch)
            self.model(inputs)
        finally:
            handle.remove()
        name = self.layer or "the last nn.Linear"
        if len(taken) != 1 or not isinstance(taken[0], Tensor):
            raise ValueError(
                f"{name} must be called once a batch, with a tensor; it was called {len(taken)} times; "
                "name another submodule by `layer`"
            )
        return taken[0].flatten(1)

    def describe(self) -> dict[str, Any]:
        """Class, weights, layer and normalization."""
        return {
            "name": "module",
            "model": f"{type(self.model).__module__}.{type(self.model).__qualname__}",
            "weights": weights_hash(self.model),
            "layer": self.layer,
            "preprocessing": "the data set's own" if isinstance(self.normalize, nn.Identity) else repr(self.normalize),
        }
