"""Features that were computed elsewhere: arrays, `.npy` and `.npz` files."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynsel._lib.files import write_atomically
from dynsel._lib.matrices import blocks, check_matrix, name_rows
from dynsel._lib.provenance import package_version
from dynsel.features.fingerprint import fingerprint
from dynsel.features.store import (
    FeatureStore,
    check_fingerprint,
    checksum,
    find_store,
    manifest_path,
    open_store,
    write_manifest,
)
from dynsel.labels import encode_labels

__all__ = ["load_features", "load_labels", "save_features", "split_key"]

Array = NDArray[Any]

_CHECKED_BYTES = 2**22  # a checksum for so many


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
        _compare_labels(beside, labels)
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
        "format": "dynsel.features",
        "fingerprint": None if dataset is None else fingerprint(dataset),
        "N": array.shape[0],
        "d": array.shape[1],
        "dtype": str(array.dtype),
        "block_rows": size,
        "checksums": [checksum(array[rows]) for rows in blocks(array, size)],
        "dynsel": package_version("dynsel"),
    }
    # Without its old manifest, an array that replaces another is merely unchecked if we are killed here.
    manifest_path(path).unlink(missing_ok=True)
    write_atomically(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
    write_manifest(path, {**manifest, "bytes": path.stat().st_size})
    return path


def load_labels(source: str, count: int) -> tuple[Tensor, list[Any]]:
    """Labels from a file, as codes.

    Args:
        source: Path of an `.npy` file, or of an `.npz` file as "file.npz:key"; the key may be left out if it has
            one array only.
        count: Expected number N.

    Returns:
        (N,) codes 0 .. C-1, and the classes that they stand for.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it can't be read, has no such key, or holds another number of labels.
    """
    path, key = split_key(source)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no label file {path}")
    loaded = _guarded(path, lambda: np.load(path, allow_pickle=False))
    if not isinstance(loaded, np.ndarray):
        with loaded:
            if key is None and len(loaded.files) == 1:
                key = loaded.files[0]
            if key not in loaded.files:
                raise ValueError(f"say which array of {path} are the labels, 'FILE:KEY'; its keys: {loaded.files}")
            loaded = _guarded(path, partial(loaded.__getitem__, key))
    if loaded.shape != (count,):
        raise ValueError(f"`--labels` must have one entry a row of the features, ({count},), got {loaded.shape}")
    codes, classes = encode_labels(loaded)
    return codes, list(classes)


def split_key(source: str) -> tuple[str, str | None]:
    """Path and key of "file.npz:key"; of any other path no key."""
    if not os.path.exists(source) and ".npz:" in source:
        path, _, key = source.rpartition(":")
        return path, key
    return source, None


def _read(source: str) -> tuple[Array, Array | None, FeatureStore | None]:
    path, key = split_key(source)
    if key is None:
        path = os.fspath(find_store(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no feature file {path}")
    if os.path.splitext(path)[1] not in (".npy", ".npz"):
        raise ValueError(f"feature files must end in .npy or .npz, got {path}; write one with `save_features`")
    if path.endswith(".npy") and manifest_path(Path(path)).is_file():
        store = open_store(path)
        return store.features, None, store
    loaded = _guarded(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if isinstance(loaded, np.ndarray):
        return loaded, None, None
    with loaded:
        key = _only_matrix(path, loaded) if key is None else key
        if key not in loaded.files:
            raise ValueError(f"{path} has no array {key!r}; its keys: {_listing(loaded)}")
        beside = _labels_beside(loaded, key)
        arrays = [_guarded(path, partial(loaded.__getitem__, name)) for name in (key, beside) if name is not None]
    return arrays[0], arrays[1] if len(arrays) > 1 else None, None


def _guarded(path: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} can't be read as NumPy arrays (pickled objects never are): {error}") from error


def _labels_beside(archive: Any, key: str) -> str | None:
    names = [key.replace("features", other) for other in ("labels", "targets") if "features" in key]
    return next((name for name in (*names, "labels", "targets") if name != key and name in archive.files), None)


def _only_matrix(path: str, archive: Any) -> str:
    if "features" in archive.files:
        return "features"
    matrices = [key for key in archive.files if _is_float_matrix(archive, key)]
    if len(matrices) == 1:
        return str(matrices[0])
    raise ValueError(
        f"{path} has {len(matrices)} 2-D floating-point arrays, so say which: "
        f"'{os.path.basename(path)}:KEY'; its keys: {_listing(archive)}"
    )


def _is_float_matrix(archive: Any, key: str) -> bool:
    # From the header alone: the arrays may be large.
    if f"{key}.npy" not in archive.zip.namelist():
        return False
    with archive.zip.open(f"{key}.npy") as file:
        major = np.lib.format.read_magic(file)[0]
        reader: Callable[..., Any] = (
            np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = reader(file)
    return len(shape) == 2 and dtype.kind == "f"


def _listing(archive: Any) -> str:
    return ", ".join(map(repr, archive.files)) or "none"


def _check_rows(features: Array, num_samples: int | None, name: str) -> None:
    if num_samples is not None and features.ndim == 2 and len(features) != num_samples:
        raise ValueError(
            f"{name} have {len(features)} rows but the data set has {num_samples} samples; row i must describe "
            "sample i, so compute them for this data set, without shuffling or leaving any out"
        )


def _compare_labels(theirs: Array, ours: Any) -> None:
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


def _warn_of_skipped(store: FeatureStore) -> None:
    if store.skipped:
        warnings.warn(
            f"{store.path}: {name_rows(store.skipped)} {'is' if len(store.skipped) == 1 else 'are'} zeros, for the "
            "items couldn't be read when the features were extracted; leave these items out of the training set",
            stacklevel=3,
        )
