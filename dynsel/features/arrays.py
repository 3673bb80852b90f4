"""Features that were computed elsewhere: arrays, `.npy` and `.npz` files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynsel._lib.array_files import choose_key, is_float_matrix, list_keys, map_array, read_array, split_key
from dynsel._lib.files import only_writer, write_atomically
from dynsel._lib.matrices import blocks, check_matrix, name_rows
from dynsel._lib.provenance import package_version
from dynsel.features.fingerprint import fingerprint
from dynsel.features.label_files import compare_labels, labels_beside
from dynsel.features.layout import FORMAT, check_fingerprint, checksum, manifest_path, write_manifest
from dynsel.features.store import FeatureStore, find_store, open_store

__all__ = ["load_features", "save_features"]

Array = NDArray[Any]

_CHECKED_BYTES = 2**22  # what one checksum is for


def load_features(
    source: Tensor | Array | str | os.PathLike[str],
    *,
    num_samples: int | None = None,
    name: str = "features",
    dataset: Any = None,
    labels: Any = None,
) -> Array:
    """Get an (N, d) feature matrix and check that it is one, and that it is this data set's.

    Args:
        source: Tensor, NumPy array, path of an `.npy` file (memory-mapped, never read whole), of a feature store
            (its `.npy`, its manifest or its folder, see `dynsel.features.open_store`) or of an `.npz` file. Of an
            `.npz` the array is named as "file.npz:key"; without a key it is the one called "features", or the only
            2-D floating-point one. Nothing is ever unpickled.
        num_samples: Expected number of rows; default: that of `dataset`, if given.
        name: How the messages call the matrix.
        dataset: Map-style data set the rows should describe; compared with the fingerprint in the manifest
            beside the file, if there is one.
        labels: (N,) labels of the data set, or their codes; compared with those in the `.npz` file, if it has any
            (`train_labels` or `train_targets` beside `train_features`, else `labels` or `targets`).

    Returns:
        NumPy array or memory map of floating-point type; a view of a tensor on the CPU, not a copy.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the matrix isn't floating point, or the source is of an unknown kind.
        ValueError: If the matrix isn't 2-D and finite, has another number of rows or is of another data set, or if
            the file can't be read, has no such key or leaves the choice between several.
    """
    beside: Array | None = None
    store: FeatureStore | None = None
    if isinstance(source, (str, os.PathLike)):
        features, beside, store = _read(os.fspath(source))
    elif isinstance(source, Tensor):
        # NumPy has no bfloat16.
        features = (source.detach().float() if source.dtype == torch.bfloat16 else source.detach()).cpu().numpy()
    elif isinstance(source, np.ndarray):
        features = source
    else:
        raise TypeError(f"`{name}` must be a tensor, an array or a path (.npy, .npz), got {type(source).__name__}")
    if num_samples is None and dataset is not None:
        num_samples = len(dataset)
    _check_rows(features, num_samples, name)
    if store is None or "checksums" not in store.manifest:  # else they were finite when written, and are unchanged
        check_matrix(features, name)
    if labels is not None and beside is not None and len(beside) == len(features):
        compare_labels(beside, labels)
    if store is not None:
        _warn_of_skipped(store)
        if dataset is not None:
            check_fingerprint(store.path, store.manifest, dataset)
    return features


def save_features(path: str | os.PathLike[str], features: Tensor | Array, dataset: Any = None) -> Path:
    """Write features as `.npy`, and beside it a manifest `<path>.json` that says of which data set they are.

    Both appear whole or not at all; a manifest is never left beside an array it does not describe.

    Args:
        path: File to write, ending in .npy, in a folder that exists.
        features: (N, d) floating point, finite; row i describes item i of the data set.
        dataset: Map-style data set, for the fingerprint that `load_features(..., dataset=...)` compares.

    Returns:
        The path.

    Raises:
        ValueError: If the path has another suffix, the features aren't (N, d), or `dataset` isn't of length N.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"`path` must end in .npy, got {path.name!r}")
    num_samples = None if dataset is None else len(dataset)
    array = load_features(features, num_samples=num_samples)
    size = max(1, _CHECKED_BYTES // (array.shape[1] * array.itemsize))
    manifest = {
        "format": FORMAT,
        "fingerprint": None if dataset is None else fingerprint(dataset),
        "N": array.shape[0],
        "d": array.shape[1],
        "dtype": str(array.dtype),
        "block_rows": size,
        "checksums": [checksum(array[rows]) for rows in blocks(array, size)],
        "dynsel": package_version("dynsel"),
    }
    with only_writer(path):
        # Without its old manifest, an array that replaces another is merely unchecked if we are killed here.
        manifest_path(path).unlink(missing_ok=True)
        write_atomically(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
        write_manifest(path, {**manifest, "bytes": path.stat().st_size})
    return path


def _read(source: str) -> tuple[Array, Array | None, FeatureStore | None]:
    """The features, the labels stored beside them, and the store if it is one."""
    path, key = split_key(source)
    if key is None:
        path = os.fspath(find_store(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no feature file {path}")
    if os.path.splitext(path)[1] not in (".npy", ".npz"):
        raise ValueError(f"feature files must end in .npy or .npz, got {path}; write one with `save_features`")
    if path.endswith(".npy"):
        if not manifest_path(Path(path)).is_file():
            return map_array(path), None, None
        store = open_store(path)
        return store.features, None, store
    keys = list_keys(path)
    candidates = ["features"] if "features" in keys else [name for name in keys if is_float_matrix(path, name)]
    key = choose_key(path, key, candidates, "2-D floating-point arrays")
    beside = labels_beside(key, keys)
    return read_array(path, key), None if beside is None else read_array(path, beside), None


def _check_rows(features: Array, num_samples: int | None, name: str) -> None:
    if num_samples is not None and features.ndim == 2 and len(features) != num_samples:
        raise ValueError(
            f"{name} have {len(features)} rows but the data set has {num_samples} samples; row i must describe "
            "sample i, so compute them for this data set, without shuffling or leaving any out"
        )


def _warn_of_skipped(store: FeatureStore) -> None:
    if store.skipped:
        warnings.warn(
            f"{store.path}: {name_rows(store.skipped)} {'is' if len(store.skipped) == 1 else 'are'} zeros, for the "
            "items couldn't be read when the features were extracted; leave these items out of the training set",
            stacklevel=3,
        )
