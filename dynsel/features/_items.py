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

__all__ = ["IMAGE_KEYS", "as_float_image", "check_dataset", "get_images", "get_items", "input_of", "preserved_rng"]

IMAGE_KEYS = ("image", "img", "pixel_values")


def check_dataset(dataset: Any) -> None:
    """Check that items can be had by number.

    Args:
        dataset: What the user gave as a data set.

    Raises:
        TypeError: If it isn't map-style.
        ValueError: If it has no items.
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
    """The images of some items as arrays, integer values scaled to [0, 1].

    Args:
        dataset: Map-style data set; of an item that is a tuple the first entry is the image, of a mapping the
            entry "image", "img" or "pixel_values". A `__getitems__` is used, whether it gives a list or a batch.
        indices: Numbers of the items in the data set.

    Returns:
        A float32 array for each item, of the item's own shape.

    Raises:
        TypeError: If an item holds no image.
    """
    return [as_float_image(input_of(item)) for item in get_items(dataset, indices)]


def get_items(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Some items, by `__getitems__` where the data set has it, whether that gives a list or a finished batch.

    Of a finished batch, as a data set gives that gathers all its images at once, only the inputs are taken.

    Args:
        dataset: Map-style data set of any kind of items.
        indices: Numbers of the items in the data set.
    """
    if not hasattr(dataset, "__getitems__"):
        return [dataset[i] for i in indices]
    batch = dataset.__getitems__(list(indices))
    if isinstance(batch, list) and len(batch) == len(indices):
        return batch
    return list(input_of(batch))


def input_of(item: Any, keys: Sequence[str] = IMAGE_KEYS) -> Any:
    """The first entry of a tuple, an entry of a mapping by one of some keys, or else the item itself.

    Args:
        item: An item of a data set.
        keys: Keys that a mapping may hold its input under, best first.

    Raises:
        TypeError: If a mapping has none of the keys.
    """
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, Mapping):
        for key in keys:
            if key in item:
                return item[key]
        raise TypeError(
            f"items must hold their input under one of {tuple(keys)}, got the keys {sorted(map(str, item))}"
        )
    return item


def as_float_image(image: Any) -> NDArray[np.float32]:
    """An image as a float32 array, integer values scaled to [0, 1].

    Args:
        image: PIL image, tensor or array of any shape.

    Raises:
        TypeError: If it is no image.
    """
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
