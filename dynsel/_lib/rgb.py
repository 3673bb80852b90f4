"""Images of any kind as RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["as_rgb"]


def as_rgb(value: Any) -> Any:
    """An image of any kind as an RGB PIL image: grey ones repeat their channel, transparency is dropped.

    Args:
        value: PIL image, or uint8 or [0, 1] floating tensor or array of shape (H, W), (C, H, W) or (H, W, C) with
            1, 2 (grey and alpha), 3 or 4 channels.

    Raises:
        TypeError: If it is no image.
        ValueError: If its shape or its values are no image's.
    """
    from PIL import Image

    if isinstance(value, Image.Image):
        return value.convert("RGB")
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uf":
        raise TypeError(f"items must be images (PIL, tensor or array), got {type(value).__name__}")
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not (array.shape[0] <= 4 or array.shape[-1] <= 4):
        raise ValueError(f"images must be (H, W), (C, H, W) or (H, W, C) with at most 4 channels, got {array.shape}")
    if array.shape[0] <= 4:
        array = np.moveaxis(array, 0, -1)
    array = array[..., :1] if array.shape[-1] <= 2 else array[..., :3]
    return Image.fromarray(_bytes(np.repeat(array, 3 // array.shape[-1], axis=-1)))


def _bytes(array: Any) -> Any:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind != "f" or not (low >= 0 and high <= 1):
        raise ValueError(
            f"images must be uint8 or floating in [0, 1], got {array.dtype} from {low:.3g} to {high:.3g}; leave "
            "normalization out of the data set: the extractor brings the preprocessing of its model"
        )
    return np.rint(array * 255).astype(np.uint8)
