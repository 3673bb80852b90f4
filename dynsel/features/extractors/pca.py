"""Principal components of the raw pixels: features that need no model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_integer
from dynsel.features._items import as_float_image
from dynsel.features.extractors.base import Extractor, weights_hash
from dynsel.features.pixels import fit_components

__all__ = ["PixelPCA"]


class PixelPCA(Extractor):
    """The same as `pixel_features`, as an extractor: a first pass finds the components, in bounded memory.

    Args:
        components: Number of components; at most the number of items and of pixels are there to be had.

    Raises:
        ValueError: If that is below 1.
    """

    mean: Tensor
    loadings: Tensor

    def __init__(self, components: int = 64) -> None:
        super().__init__()
        self.components = check_integer("components", components, at_least=1)
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("loadings", torch.zeros(0, 0))
        self.shape: tuple[int, ...] = ()

    def fit(self, dataset: Any) -> None:
        """Find mean and components.

        Args:
            dataset: Map-style data set of images that all have one shape.
        """
        pca, self.shape = fit_components(dataset, self.components)
        self.mean = torch.from_numpy(np.asarray(pca.mean_, dtype=np.float32))
        self.loadings = torch.from_numpy(np.asarray(pca.components_, dtype=np.float32))

    def prepare(self, value: Any) -> Tensor:
        """Pixels in a row, integer ones scaled to [0, 1].

        Args:
            value: An image of the one shape that all items have.

        Returns:
            (p,) float32 of its p pixels, all channels.

        Raises:
            ValueError: If it has another shape.
        """
        image = as_float_image(value)
        if image.shape != self.shape:
            raise ValueError(f"items must have one shape, got {image.shape} after {self.shape}; add a Resize")
        return torch.from_numpy(image.reshape(-1))

    def forward(self, batch: Tensor) -> Tensor:
        """(B, components).

        Args:
            batch: (B, pixels) floats in [0, 1].
        """
        return (batch - self.mean) @ self.loadings.T

    def describe(self) -> dict[str, Any]:
        """The components, by their hash."""
        return {
            "name": "pixels",
            "components": len(self.loadings),
            "weights": weights_hash(self),
            "preprocessing": f"raw values of shape {list(self.shape)}, integer ones scaled to [0, 1]",
        }
