"""What selectors and terms return, checked before anybody builds on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.matrices import check_matrix
from dynsel.selection import Selection
from dynsel.selectors.base import Selector

__all__ = ["check_sample_features", "checked_scores", "checked_selection"]


def check_sample_features(features: Any, num_samples: int) -> None:
    """Check that features are a matrix (`check_matrix`) with a row for every sample.

    Args:
        features: (N, d) floating point, row i describes sample i.
        num_samples: Number of samples, N.

    Raises:
        TypeError: If they are no tensor or array of floating point.
        ValueError: If they aren't 2-D, not finite, or have another number of rows.
    """
    check_matrix(features)
    if len(features) != num_samples:
        raise ValueError(f"`features` must have one row per sample: expected {num_samples}, got {len(features)}")


def checked_selection(selector: Selector, progress: float, size: int) -> Selection:
    """What `selector.select` returns, for whoever drives a selector.

    Args:
        selector: Bound, and fitted if it needs that.
        progress: Share of training done, in [0, 1].
        size: Number of samples that the keep ratio stands for, 1 .. N.

    Raises:
        RuntimeError: If the selector is not bound.
        TypeError: If it returns anything but a `Selection`.
        ValueError: If that holds a position outside 0 .. N-1 or one twice, or another number than `size` though the
            selector is `exact`.
    """
    name, count = type(selector).__name__, len(selector.usage)
    selection = selector.select(progress, size)
    if not isinstance(selection, Selection):
        raise TypeError(
            f"`{name}.select` must return a dynsel.selection.Selection, got {type(selection).__name__}; "
            "`Selection(indices)` makes one of an integer tensor"
        )
    indices = selection.indices.cpu().numpy()
    if not len(indices):
        return selection  # an empty epoch is refused by whoever trains it, which knows its number
    if not 0 <= indices.min() <= indices.max() < count:
        raise ValueError(
            f"`{name}.select` must return positions in 0 .. {count - 1}, got {indices.min()} .. {indices.max()}"
        )
    if np.count_nonzero(np.bincount(indices)) < len(indices):
        raise ValueError(f"`{name}.select` must return each sample at most once")
    if selector.exact and len(indices) != size:
        raise ValueError(
            f"`{name}.select` must return the {size} samples asked for, got {len(indices)}; "
            "a selector that decides the number itself has `exact = False`"
        )
    return selection


def checked_scores(name: str, scores: Any, num_samples: int) -> Tensor:
    """One number per sample, as a floating-point tensor on the CPU.

    Lists, arrays and integer tensors are taken for what they mean.

    Args:
        name: Name of the selector that returned them.
        scores: (N,) numbers, higher = rather take it; NaN is the lowest.
        num_samples: Number of samples, N.

    Returns:
        (N,) float.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If they aren't one per sample, or all are NaN.
    """
    try:
        values = torch.as_tensor(scores).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must return an (N,) tensor, got {type(scores).__name__} ({error})") from error
    if values.shape != (num_samples,):
        raise ValueError(
            f"`{name}` must return one number per sample, shape ({num_samples},), got {tuple(values.shape)}"
        )
    if values.is_complex():
        raise TypeError(f"`{name}` must return real numbers, got {values.dtype}")
    if bool(values[:1].isnan().all()) and bool(values.isnan().all()):
        raise ValueError(f"`{name}` returned NaN for every sample; what isn't known yet needs a number, such as 0")
    return values if values.is_floating_point() else values.double()
