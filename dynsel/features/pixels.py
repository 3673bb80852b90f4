"""The principal components of the images themselves: features that need no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.checks import check_integer
from dynsel._lib.progress import track
from dynsel.features._items import check_dataset, get_images, preserved_rng

__all__ = ["fit_components", "pixel_features"]

_FITTED = 10_000  # items that components are found from: more hardly change them, and take five times as long


def pixel_features(
    dataset: Any, components: int = 64, batch_size: int | None = None, progress_bar: bool = False
) -> NDArray[np.float32]:
    """Principal components of images, in two passes over the data set and bounded memory.

    The components are those that `sklearn.decomposition.IncrementalPCA` finds in 10,000 items, evenly spaced, or in all
    of them where there are no more: nearly the exact ones, with the sign that makes the largest loading positive. Items
    should come without random augmentation.

    Args:
        dataset: Map-style data set of images of one shape (tensors, arrays or PIL), alone, first in a tuple, or
            under the key "image", "img" or "pixel_values".
        components: Number of components; at most the number of items and of pixels are there to be had.
        batch_size: Number of items read at a time; by default 4 times the components, and at least 256.
        progress_bar: Whether a bar shows on the standard error.

    Returns:
        (N, min(components, N, pixels)) float32.

    Raises:
        TypeError: If items hold no images.
        ValueError: If items differ in shape, have no pixels or are not finite, or an option is out of range.

    Reference:
        Ross, Lim, Lin, Yang (2008), Incremental learning for robust visual tracking (the PCA's update).
    """
    pca, shape = fit_components(dataset, components, batch_size, progress_bar)
    size = _block_size(pca.n_components, batch_size)
    with preserved_rng(), np.errstate(divide="ignore", invalid="ignore"):
        features = np.empty((len(dataset), pca.n_components), dtype=np.float32)
        rows = range(len(dataset))
        for start, block in _blocks(dataset, rows, size, shape, "pixel features, pass 2 of 2", progress_bar):
            features[start : start + len(block)] = pca.transform(block)
    return features


def fit_components(
    dataset: Any, components: int = 64, batch_size: int | None = None, progress_bar: bool = False
) -> tuple[Any, tuple[int, ...]]:
    """The first of the two passes, which finds the components in 10,000 items at most.

    Args:
        dataset: Map-style data set of images, as in `pixel_features`.
        components: Number of components, at least 1; at most as many as items and pixels are found.
        batch_size: Number of items read at a time; by default 4 times the components, and at least 256.
        progress_bar: Whether a bar shows on the standard error.

    Returns:
        A fitted `sklearn.decomposition.IncrementalPCA`, and the shape of an image.

    Raises:
        TypeError: If items hold no images.
        ValueError: If items differ in shape, have no pixels or are not finite, or an option is out of range.
    """
    from sklearn.decomposition import IncrementalPCA

    check_dataset(dataset)
    components = check_integer("components", components, at_least=1)
    batch_size = None if batch_size is None else check_integer("batch_size", batch_size, at_least=1)
    # Images that are all the same have no variance to divide by.
    with preserved_rng(), np.errstate(divide="ignore", invalid="ignore"):
        shape = get_images(dataset, [0])[0].shape
        if not np.prod(shape):
            raise ValueError(f"items must have pixels, got an image of shape {shape} for item 0")
        components = min(components, len(dataset), int(np.prod(shape)))
        pca = IncrementalPCA(components)
        size = _block_size(components, batch_size)
        rows = np.linspace(0, len(dataset) - 1, min(len(dataset), max(_FITTED, size))).round().astype(int).tolist()
        for _, block in _blocks(dataset, rows, size, shape, "pixel features, pass 1 of 2", progress_bar):
            pca.partial_fit(block, check_input=False)
    return pca, shape


def _block_size(components: int, batch_size: int | None) -> int:
    # An update needs at least as many items as components.
    return max(components, 4 * components if batch_size is None else batch_size, 256 if batch_size is None else 1)


def _blocks(
    dataset: Any, rows: Sequence[int], size: int, shape: tuple[int, ...], title: str, progress_bar: bool
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    # A remainder joins the last block, which keeps every block large enough for an update.
    edges = [*range(0, max(1, len(rows) - size + 1), size), len(rows)]
    for start, stop in track(list(pairwise(edges)), title, show=progress_bar):
        images = get_images(dataset, rows[start:stop])
        for i, image in enumerate(images):
            if image.shape != shape:
                raise ValueError(
                    f"items must have one shape, got {shape} for item 0 and {image.shape} for item {rows[start + i]}; "
                    "add a Resize to a fixed (height, width), and a conversion to RGB if modes differ, to the "
                    "data set's transform"
                )
        block = np.stack(images).reshape(len(images), -1)
        finite = np.isfinite(block).all(1)
        if not finite.all():
            item = rows[start + int(finite.argmin())]
            raise ValueError(f"images must be finite, got NaN or infinity in item {item}; mend it or leave it out")
        yield start, block
