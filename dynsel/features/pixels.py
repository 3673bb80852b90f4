"""Features of a data set without any model: PCA of the raw inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["pixel_features"]

BLOCK = 1024


def pixel_features(dataset: Any, components: int = 64, *, progress_bar: bool = False) -> NDArray[np.float32]:
    """Project the flattened inputs on their first principal components, in two passes of bounded memory.

    Args:
        dataset: Map-style; the input is an item, or the first part of an item.
        components: At most so many; fewer if the inputs are smaller or the samples fewer.
        progress_bar: Show one.

    Returns:
        (N, components) float32, signs fixed so that each component's largest loading is positive.

    Raises:
        ValueError: If inputs differ in shape.
    """
    from sklearn.decomposition import IncrementalPCA

    first = next(_blocks(dataset, False))
    wanted = min(components, first.shape[1], len(first))
    pca = IncrementalPCA(wanted)
    for block in _blocks(dataset, progress_bar):
        # A rest smaller than the number of components can't be fitted; it is still projected below.
        if len(block) >= wanted:
            pca.partial_fit(block)
    strongest = np.abs(pca.components_).argmax(1)
    sign = np.sign(pca.components_[np.arange(wanted), strongest])
    rows = [pca.transform(block) * sign for block in _blocks(dataset, progress_bar)]
    return np.concatenate(rows).astype(np.float32)


def _blocks(dataset: Any, progress_bar: bool) -> Iterator[NDArray[np.float32]]:
    starts: Any = range(0, len(dataset), BLOCK)
    if progress_bar:
        from rich.progress import track

        starts = track(list(starts), description="reading inputs", transient=True)
    for start in starts:
        yield _block(dataset, list(range(start, min(start + BLOCK, len(dataset)))))


def _block(dataset: Any, indices: list[int]) -> NDArray[np.float32]:
    if hasattr(dataset, "__getitems__"):
        fetched = dataset.__getitems__(indices)
        # Either a batch that is ready, or a list of items.
        if isinstance(fetched, tuple) and isinstance(fetched[0], Tensor) and len(fetched[0]) == len(indices):
            return fetched[0].cpu().flatten(1).float().numpy()
        items = fetched
    else:
        items = [dataset[i] for i in indices]
    return np.stack([_flat(item, items[0]) for item in items])


def _flat(item: Any, first: Any) -> NDArray[np.float32]:
    value, pattern = _input(item), _input(first)
    if value.shape != pattern.shape:
        raise ValueError(
            f"inputs must have one shape, got {value.shape} after {pattern.shape}; add a Resize to the transforms, "
            "or give features of an encoder"
        )
    return value.ravel()


def _input(item: Any) -> NDArray[np.float32]:
    value = item[0] if isinstance(item, (tuple, list)) else item
    return np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float32)
