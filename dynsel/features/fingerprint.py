"""What tells one data set from another, and one order of it from another, in a few hundred bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from dynsel.features._items import check_dataset, preserved_rng
from dynsel.labels import declared_labels, encode_labels

__all__ = ["describe_difference", "fingerprint"]

_ITEMS = 16
_FILE_SIZES = 1024
_FILE_START = 2**16


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def fingerprint(dataset: Any, labels: Any = None) -> dict[str, Any]:
    """Describe a data set so that another one, or the same in another order, is told apart.

    The result can be written as JSON and is the same in every process. Parts that can't be had are left out:

    - `length`: number of items;
    - `classes`: class names, of the attribute `classes`;
    - `labels`: hash of the labels' codes in order, of `labels` or the attributes `targets` or `labels`;
    - `order`: for a `Subset` other than the whole set in its order, length of the set underneath and hash of the
      indices;
    - `files`: for `ImageFolder` and the like, hash of all file names relative to the root, and of the sizes of
      some files; transforms don't matter;
    - `items`: hashes of up to 16 items at even distances; of their files' first 64 KiB, undecoded, for a folder; of
      the raw items where the data set keeps them in `data`; else of what it returns, unless that is random
      (augmentation).

    So two orders of a folder or of a `Subset` are always told apart. Of other data sets those are that differ in the
    labels' order or at a sampled item: any shuffle, but not two items of one class swapped by hand.

    Args:
        dataset: Map-style data set; a `Subset` is followed to what is underneath.
        labels: (N,) labels of any hashable type, if other than the data set's own.

    Raises:
        TypeError: If the data set isn't map-style.
        ValueError: If it is empty.
    """
    check_dataset(dataset)
    base, indices = _underneath(dataset)
    found: dict[str, Any] = {"length": len(dataset)}
    classes = getattr(base, "classes", None)
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        found["classes"] = [str(name) for name in classes]
    code = _hash_labels(declared_labels(dataset) if labels is None else labels)
    if code is not None:
        found["labels"] = code
    if indices is not None and indices != list(range(len(base))):
        found["order"] = [len(base), _digest(hashlib.sha256(np.asarray(indices, dtype="<i8").tobytes()))]
    paths = _paths(base)
    if paths is not None:
        paths = paths if indices is None else [paths[i] for i in indices]
        found["files"] = _hash_files(paths, base)
        contents = [_hash_content(paths[i]) for i in _evenly(len(paths), _ITEMS)]
        if None not in contents:
            found["items"] = contents
        return found
    items = _hash_items(dataset, base, indices)
    if items is not None:
        found["items"] = items
    return found


def describe_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """What differs between two fingerprints, in words; None if nothing that both of them hold does.

    Args:
        a: Fingerprint of the one data set.
        b: Fingerprint of the other.
    """
    if a.get("length") != b.get("length"):
        return f"length ({a.get('length')} and {b.get('length')} items)"
    parts = []
    if _differ(a, b, "classes"):
        parts.append(f"class names ({_brief(a['classes'])} and {_brief(b['classes'])})")
    if _differ(a, b, "labels"):
        parts.append("labels (other ones, or in another order)")
    if _other_order(a, b):
        parts.append("order of the items")
    if _differ(a, b, "files"):
        parts.append("file names or sizes")
    if _differ(a, b, "items"):
        pairs = list(zip(a["items"], b["items"], strict=False))
        other = sum(x != y for x, y in pairs)
        parts.append(f"sampled items ({other} of {len(pairs)} differ)")
    return "; ".join(parts) or None


def _differ(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    return key in a and key in b and a[key] != b[key]


def _other_order(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    first, second = (found.get("order", [found.get("length"), "as it is"]) for found in (a, b))
    # Indices into sets of different length can't be compared: one set may be a copied part of the other.
    return bool(first[0] == second[0] and first[1] != second[1])


def _brief(names: Sequence[str]) -> str:
    first = ", ".join(map(str, names[:3]))
    return f"{first}, ... ({len(names)})" if len(names) > 3 else first


def _underneath(dataset: Any) -> tuple[Any, list[int] | None]:
    indices: list[int] | None = None
    while isinstance(dataset, Subset):
        inner = [int(i) for i in dataset.indices]
        indices = inner if indices is None else [inner[i] for i in indices]
        dataset = dataset.dataset
    return dataset, indices


def _hash_labels(labels: Any) -> str | None:
    if labels is None:
        return None
    try:
        # Codes, so that classes 1..10 and 0..9, or names and numbers in the same order, are the same labels.
        codes, _ = encode_labels(labels)
    except (TypeError, ValueError):
        return None
    return _digest(hashlib.sha256(codes.to(torch.int32).numpy().astype("<i4").tobytes()))


def _paths(base: Any) -> list[str] | None:
    samples = getattr(base, "samples", None)
    if not isinstance(samples, list) or not samples or len(samples) != len(base):
        return None
    first = samples[0][0] if isinstance(samples[0], (tuple, list)) and samples[0] else samples[0]
    if not isinstance(first, (str, os.PathLike)):
        return None
    return [os.fspath(entry[0] if isinstance(entry, (tuple, list)) else entry) for entry in samples]


def _hash_files(paths: list[str], base: Any) -> str:
    root = os.fspath(getattr(base, "root", "") or "")
    if not root or not paths[0].startswith(root):
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path[len(root) :].replace(os.sep, "/").strip("/").encode() + b"\0")
    # Asking a network disk for a million sizes takes minutes.
    for i in _evenly(len(paths), _FILE_SIZES):
        size = os.path.getsize(paths[i]) if os.path.exists(paths[i]) else -1
        digest.update(size.to_bytes(8, "little", signed=True))
    return _digest(digest)


def _hash_content(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return _digest(hashlib.sha256(file.read(_FILE_START)))
    except OSError:
        return None


def _hash_items(dataset: Any, base: Any, indices: list[int] | None) -> list[str] | None:
    places = _evenly(len(dataset), _ITEMS)
    raw = getattr(base, "data", None)
    if isinstance(raw, (Tensor, np.ndarray)) and len(raw) == len(base):
        return [_hash_item(raw[i if indices is None else indices[i]]) for i in places]
    with preserved_rng():
        first = [_hash_item_at(dataset, i) for i in places]
        # One item may come out of a random flip unchanged; sixteen hardly will.
        return first if first == [_hash_item_at(dataset, i) for i in places] else None


def _evenly(length: int, count: int) -> list[int]:
    count = min(count, length)
    return [i * (length - 1) // max(1, count - 1) for i in range(count)]


def _hash_item_at(dataset: Any, index: int) -> str:
    try:
        return _hash_item(dataset[index])
    except Exception:  # whatever a decoder raises; it is for whoever needs the item to complain
        return "unreadable"


def _hash_item(item: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, item)
    return _digest(digest)


def _feed(digest: _Hash, value: Any) -> None:
    from PIL import Image

    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif isinstance(value, Image.Image):
        digest.update(value.mode.encode())
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"array {value.dtype.newbyteorder('<').str} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes())
    elif isinstance(value, Mapping):
        _feed(digest, sorted(((str(key), part) for key, part in value.items()), key=lambda pair: pair[0]))
    elif isinstance(value, (tuple, list, np.ndarray)):
        digest.update(f"sequence {len(value)}".encode())
        for part in value:
            _feed(digest, part)
    elif isinstance(value, (str, bytes, int, float, complex, np.generic, type(None))):
        value = value.item() if isinstance(value, np.generic) else value
        digest.update(f"{type(value).__name__} {value!r}".encode())
    else:
        # The default repr holds an address, another one in every process.
        digest.update(f"object {type(value).__name__}".encode())


def _digest(digest: Any) -> str:
    return str(digest.hexdigest()[:32])
