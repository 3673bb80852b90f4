"""Getting items out of any map-style data set without disturbing anybody."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["check_dataset", "get_images", "preserved_rng"]

_IMAGE_KEYS = ("image", "img", "pixel_values")


def check_dataset(dataset: Any) -> None:
    """Check that items can be had by number.

    Raises:
        TypeError: If not.
        ValueError: If there are none.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            "`dataset` must be map-style, with `__len__` and `__getitem__`, "
            f"got {type(dataset).__name__}; an iterable one has no sample numbers to select by"
        )
    if len(dataset) == 0:
        raise ValueError("`dataset` must have at least one item, got none")


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Put the CPU's global generators back afterwards: random augmentation in a data set draws from them."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def get_images(dataset: Any, indices: Sequence[int]) -> list[NDArray[np.float32]]:
    """The images of these items, flattened, integer ones scaled to [0, 1].

    Args:
        dataset: Map-style data set; of an item that is a tuple the first entry is the image, of a mapping the
            entry "image", "img" or "pixel_values". A `__getitems__` is used, be its result a list or a batch.
        indices: Which items.

    Returns:
        One float32 array an item, of the item's own shape.

    Raises:
        TypeError: If an item holds no image.
    """
    if not hasattr(dataset, "__getitems__"):
        return [_as_array(_image_of(dataset[i])) for i in indices]
    batch = dataset.__getitems__(list(indices))
    if isinstance(batch, list) and len(batch) == len(indices):
        return [_as_array(_image_of(item)) for item in batch]
    # A finished batch, as a data set gives that gathers all its images at once.
    return list(_as_array(_image_of(batch)))


def _image_of(item: Any) -> Any:
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, Mapping):
        for key in _IMAGE_KEYS:
            if key in item:
                return item[key]
        raise TypeError(f"items must hold an image under one of {_IMAGE_KEYS}, got the keys {sorted(map(str, item))}")
    return item


def _as_array(image: Any) -> NDArray[np.float32]:
    from PIL import Image

    if isinstance(image, Image.Image):
        # Palette numbers are no brightness.
        image = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    elif isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "fiub":
        raise TypeError(
            f"items must be images (tensor, array or PIL) or tuples that begin with one, got {type(image).__name__}; "
            "give features as an array or a file instead of 'pixels'"
        )
    largest = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
    return image.astype(np.float32) / np.float32(largest)
