"""Which samples a file says were chosen."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["read_indices"]


def read_indices(name: str, path: Path, count: int) -> Tensor:
    """The indices of a manifest of `dynsel select`, or of a JSON list.

    Args:
        name: The parameter that the path was given by, for the messages.
        path: File to read.
        count: Number of samples, N, of the data set that is chosen from.

    Returns:
        (M,) int64 indices in [0, N), at least one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else, or a choice from another number of samples.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{name}`: there is no selection {path}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["indices"] if isinstance(manifest, dict) else manifest
        if not isinstance(found, list) or not all(type(index) is int for index in found):
            raise TypeError("they are no list of whole numbers")
        indices = torch.tensor(found, dtype=torch.int64)
    except (ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"`{name}` must be JSON with a list of `indices`, got {path}: {error}") from error
    known = manifest.get("N", count) if isinstance(manifest, dict) else count
    if known != count:
        raise ValueError(f"`{name}` must be a selection of these {count} samples, {path} is one of {known}")
    if len(indices) == 0 or not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise ValueError(f"`{name}` must hold indices in [0, {count}), the rows of the features, got {path}")
    return indices
