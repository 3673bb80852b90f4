"""What a data set is, in a few hashes: cheap to take, and different when content or order differ."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dynsel.labels import declared_labels, encode_labels

__all__ = ["describe_difference", "fingerprint"]

PROBES = 16


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Length, class names, labels, a sample of items, and file names and sizes of folder data sets.

    No full pass: at most 17 items are read. Items that differ from one reading to the next (random augmentation) are
    left out.

    Args:
        dataset: A map-style data set.

    Returns:
        A dict of numbers and strings, for JSON.
    """
    result: dict[str, Any] = {"length": len(dataset)}
    classes = getattr(dataset, "classes", None)
    if classes is not None:
        result["classes"] = _hash([str(name) for name in classes])
    labels = declared_labels(dataset)
    if labels is not None:
        try:
            result["labels"] = _hash(encode_labels(labels)[0].int().numpy())
        except (TypeError, ValueError):
            result["labels"] = _hash(labels)
    files = getattr(dataset, "samples", None)
    if isinstance(files, list) and files and isinstance(files[0], tuple) and isinstance(files[0][0], (str, Path)):
        result["files"] = _hash(_names_and_sizes(files, getattr(dataset, "root", "")))
    probes = np.unique(np.linspace(0, len(dataset) - 1, PROBES).astype(int)).tolist() if len(dataset) else []
    if probes and _hash(dataset[0]) == _hash(dataset[0]):
        result["items"] = _hash([_hash(dataset[i]) for i in probes])
    return result


def describe_difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """What differs between two fingerprints, in words; None if nothing does that both tell."""
    if expected["length"] != found["length"]:
        return f"it has {found['length']} samples, the features are of {expected['length']}"
    words = {
        "classes": "the class names",
        "labels": "the labels or their order",
        "files": "the files or their order",
        "items": "the samples or their order",
    }
    different = [
        word for key, word in words.items() if key in expected and key in found and expected[key] != found[key]
    ]
    return f"{' and '.join(different)} differ" if different else None


def _names_and_sizes(files: list[Any], root: Any) -> list[str]:
    return [f"{os.path.relpath(path, root) if root else path}:{os.path.getsize(path)}" for path, *_ in files]


def _hash(item: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, item)
    return digest.hexdigest()[:32]


def _feed(digest: Any, item: Any) -> None:
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
    elif hasattr(item, "convert") and hasattr(item, "size"):  # a PIL image
        item = np.asarray(item)
    if isinstance(item, np.ndarray):
        digest.update(f"{item.dtype}{item.shape}".encode())
        digest.update(np.ascontiguousarray(item).tobytes())
    elif isinstance(item, (list, tuple)):
        digest.update(f"[{len(item)}".encode())
        for part in item:
            _feed(digest, part)
    elif isinstance(item, dict):
        _feed(digest, sorted((str(key), value) for key, value in item.items()))
    else:
        digest.update(f"{type(item).__name__}:{item}".encode())
