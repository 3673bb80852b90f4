"""Feature matrices from arrays and files, checked before anything is computed from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.features.fingerprint import describe_difference, fingerprint

__all__ = ["check_features", "load_features", "save_features"]

BLOCK = 8192
# Names under which a file's labels may lie beside its features.
LABEL_NAMES = ("labels", "targets")


def load_features(
    source: Any, *, num_samples: int | None = None, dataset: Any = None, labels: Tensor | None = None
) -> Any:
    """An (N, d) feature matrix, memory-mapped where the file allows it.

    Args:
        source: Tensor or array; or a path: `.npy`; `.npz` with a single matrix or one called `features`; or
            `file.npz:name`. Nothing is ever unpickled.
        num_samples: N of the data set.
        dataset: The data set, to compare with the fingerprint that `save_features` left beside the file.
        labels: (N,) class codes of the data set, to compare with labels that the file holds.

    Returns:
        The tensor or array, as it is: float16 stays float16.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the source or its dtype can't hold features.
        ValueError: If the shape is wrong, a value is NaN or infinite, or the file is of another data set.
    """
    stored_labels = None
    if isinstance(source, (str, os.PathLike)):
        features, stored_labels, path = _read(os.fspath(source))
        if dataset is not None:
            _check_manifest(path, dataset)
    else:
        features = source if isinstance(source, Tensor) else np.asarray(source)
    n, _ = check_features(features)
    if num_samples is not None and n != num_samples:
        raise ValueError(
            f"features have {n} rows but the data set has {num_samples} samples; "
            "row i must describe sample i of the very data set that is trained on"
        )
    if labels is not None and stored_labels is not None and len(stored_labels) == n:
        _check_labels(stored_labels, labels)
    return features


def check_features(features: Any) -> tuple[int, int]:
    """(N, d) of a feature matrix.

    Raises:
        TypeError: If it is no floating-point matrix.
        ValueError: If it is not two-dimensional, has fewer than two rows, or holds NaN or infinite values.
    """
    dtype = getattr(features, "dtype", None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point) and getattr(dtype, "kind", "") != "f":
        raise TypeError(f"features must be of a floating-point dtype, got {dtype}; convert them by .astype('float32')")
    if features.ndim != 2:
        raise ValueError(f"features must have shape (samples, dimensions), got {tuple(features.shape)}")
    if len(features) < 2:
        raise ValueError(f"features must have at least 2 rows, got {len(features)}")
    bad = [row for block in _finite_rows(features) for row in block]
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(f"features must be finite, got NaN or infinity in {len(bad)} rows: {shown}")
    return len(features), features.shape[1]


def save_features(path: str | Path, features: Any, dataset: Any = None) -> None:
    """Write features as `.npy` with a manifest `.npy.json` beside it, so that they are not used for other data.

    Both are written under a temporary name and renamed, the manifest first.

    Args:
        path: Ending in `.npy`.
        features: (N, d) floating point.
        dataset: The data set whose sample i row i describes; its fingerprint goes into the manifest.
    """
    import dynsel

    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"`path` must end in .npy, got {path}")
    n, d = check_features(features)
    array = features.detach().cpu().numpy() if isinstance(features, Tensor) else np.asarray(features)
    manifest = {"N": n, "d": d, "dtype": str(array.dtype), "dynsel": dynsel.__version__}
    if dataset is not None:
        manifest["fingerprint"] = fingerprint(dataset)
    _replace(_manifest_path(path), lambda file: file.write(json.dumps(manifest, indent=1).encode()))
    _replace(path, lambda file: np.save(file, array, allow_pickle=False))


def _replace(path: Path, write: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _check_manifest(path: Path, dataset: Any) -> None:
    manifest = _manifest_path(path)
    if not manifest.exists():
        return
    expected = json.loads(manifest.read_text()).get("fingerprint")
    difference = expected and describe_difference(expected, fingerprint(dataset))
    if difference:
        raise ValueError(f"{path} holds features of another data set: {difference}")


def _read(source: str) -> tuple[Any, Any, Path]:
    """Matrix, labels beside it or None, and the file's path."""
    name, _, key = source.partition(".npz:")
    path = Path(name + ".npz") if key else Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"no feature file {path.absolute()}; `features` takes an array, a path, 'pixels' or 'model'"
        )
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False), None, path
    if path.suffix != ".npz":
        raise ValueError(f"a feature file must end in .npy or .npz, got {path.name}")
    with np.load(path, allow_pickle=False) as file:
        chosen = _choose(file, key, path)
        prefix = chosen.removesuffix("features")
        beside = [prefix + label for label in LABEL_NAMES if prefix + label in file.files]
        return file[chosen], (file[beside[0]] if beside else None), path


def _choose(file: Any, key: str, path: Path) -> str:
    if key:
        if key not in file.files:
            raise ValueError(f"{path.name} has no array {key!r}, it has {', '.join(file.files)}")
        return key
    if "features" in file.files:
        return "features"
    matrices = [name for name in file.files if file[name].ndim == 2 and file[name].dtype.kind == "f"]
    if len(matrices) != 1:
        raise ValueError(
            f"{path.name} must hold one matrix, or one called 'features'; it has {', '.join(file.files)}: "
            f"name one, as in '{path.name}:{(matrices or file.files)[0]}'"
        )
    return str(matrices[0])


def _check_labels(stored: Any, labels: Tensor) -> None:
    """Both number the classes 0 .. C-1 in sorted order, whatever the labels were."""
    codes = np.unique(stored, return_inverse=True)[1]
    wrong = np.flatnonzero(codes != labels.numpy())
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"the labels in the feature file differ from the data set's in {len(wrong)} rows, first in row {row} "
            f"(class {int(codes[row])} in the file, {int(labels[row])} in the data set): "
            "the file is of another data set or in another order"
        )


def _finite_rows(features: Any) -> Iterator[list[int]]:
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        rows = block if isinstance(block, Tensor) else torch.from_numpy(np.ascontiguousarray(block))
        yield ((~torch.isfinite(rows).all(1)).nonzero().squeeze(1) + start).tolist()
