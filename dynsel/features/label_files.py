"""Labels in files: read as codes, and compared with a data set's own."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynsel._lib.array_files import choose_key, list_keys, map_array, read_array, split_key
from dynsel.labels import encode_labels

__all__ = ["compare_labels", "labels_beside", "load_labels"]


def load_labels(source: str, count: int) -> tuple[Tensor, list[Any]]:
    """Labels from a file, as codes.

    Args:
        source: Path of an `.npy` file, or of an `.npz` file as "file.npz:key"; the key may be left out if it has
            one array only.
        count: Expected number of labels, N.

    Returns:
        (N,) integer codes 0 .. C-1, and the C classes that they stand for.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it can't be read, has no such key, or holds another number of labels.
    """
    path, key = split_key(source)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no label file {path}")
    if path.endswith(".npz"):
        labels = read_array(path, choose_key(path, key, list_keys(path), "arrays"))
    else:
        labels = map_array(path)
    if labels.shape != (count,):
        raise ValueError(f"`--labels` must have one entry per row of the features, ({count},), got {labels.shape}")
    codes, classes = encode_labels(labels)
    return codes, list(classes)


def labels_beside(key: str, keys: list[str]) -> str | None:
    """The key of the labels that belong to the features of a key.

    Args:
        key: Key of the features in an `.npz` file.
        keys: All keys of the file.

    Example:
        >>> labels_beside("train_features", ["train_features", "train_labels", "test_labels"])
        'train_labels'
    """
    names = [key.replace("features", other) for other in ("labels", "targets") if "features" in key]
    return next((name for name in (*names, "labels", "targets") if name != key and name in keys), None)


def compare_labels(theirs: NDArray[Any], ours: Any) -> None:
    """Check that labels stored beside features are those of the data set.

    Args:
        theirs: (N,) labels of the file; floating-point ones aren't compared.
        ours: (N,) labels of the data set, or their codes.

    Raises:
        ValueError: If they are of other samples or in another order; names the first row that shows it.
    """
    values = ours.detach().cpu().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    if theirs.dtype.kind not in "iubUS" or theirs.shape != values.shape:
        return
    # As codes: 1..10 and 0..9, or names and numbers in the same order, are the same labels.
    a, b = encode_labels(theirs)[0].numpy(), encode_labels(values)[0].numpy()
    if np.array_equal(a, b):
        return
    same_kind = (theirs.dtype.kind in "US") == (values.dtype.kind in "US")
    # Numbers against names: the classes may be in another order, if it is one and the same throughout.
    if not same_kind and len(np.unique(np.stack([a, b]), axis=1).T) == a.max() + 1 == b.max() + 1:
        return
    wrong = (a != b) & (theirs != values if same_kind else True)
    row = int(np.argmax(wrong if wrong.any() else a != b))
    raise ValueError(
        f"row {row} has label {theirs[row]} in the file and {values[row]} in the data set: "
        "the file is of another data set or in another order"
    )
