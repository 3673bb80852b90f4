"""Class labels of a data set, whatever their type, as codes 0 .. C-1."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence, Set, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from dynsel._lib.matrices import name_rows
from dynsel._lib.progress import track

__all__ = ["by_position", "check_labels", "dataset_labels", "declared_classes", "declared_labels", "encode_labels"]

logger = logging.getLogger("dynsel")

# What labels are called by, in columns and in items that are dictionaries.
_NAMES = ("label", "labels", "target", "targets", "y", "fine_label")
_WAY_OUT = (
    "give the data set an attribute `targets` or `labels`, pass `labels=` to DynamicSelection, "
    "or `class_balance=False` to the selector"
)


def encode_labels(labels: Any) -> tuple[Tensor, list[Hashable]]:
    """Turn labels of any hashable type into codes.

    Args:
        labels: (N,) tensor, array or sequence: numbers, strings, tuples, ...

    Returns:
        (N,) codes 0 .. C-1, int16 while C allows, and the C distinct labels in the order of their codes
        (sorted where they can be sorted, else in order of appearance).

    Raises:
        TypeError: If the labels have no order (a dict, a set) or are one text, or a label is not hashable (a vector).
        ValueError: If the labels are not one-dimensional, are masked, or look continuous.
    """
    check_labels(labels)
    array = _as_array(labels)
    if array is not None:
        classes, codes = np.unique(array, return_inverse=True)
        names: list[Hashable] = classes.tolist()
    else:
        names, codes = _encode_objects([_plain(label) for label in labels])
    # A regression target has about as many "classes" as samples.
    if array is not None and array.dtype.kind == "f" and len(names) > max(2, len(codes) // 2):
        raise ValueError(
            f"labels look continuous: {len(names)} different values in {len(codes)} samples; "
            "pass `class_balance=False` to the selector, or class labels by `labels=`"
        )
    dtype = torch.int16 if len(names) <= 32767 else torch.int32
    return torch.from_numpy(np.ascontiguousarray(codes)).to(dtype), names


def dataset_labels(dataset: Any, *, progress_bar: bool = True) -> Any:
    """The labels of a map-style data set: those that it tells of itself, or else a pass over its items.

    Args:
        dataset: Any map-style data set. In a pass over it the label is the last entry of each pair, or what stands
            under one of the usual names in each dictionary.
        progress_bar: Whether to show a progress bar while passing over the data set.

    Returns:
        (N,) labels of any type that `encode_labels` takes.

    Raises:
        ValueError: If no labels can be found, or all of them differ.
    """
    labels = declared_labels(dataset)
    if labels is not None:
        return labels
    return _labels_by_pass(dataset, progress_bar)


def declared_labels(dataset: Any) -> Any:
    """The labels that a data set tells of itself, without a pass over its items; None if it tells none.

    Where they are looked for: the attributes `targets` and `labels`; the column `label`, `labels`, `target`, `targets`,
    `y` or `fine_label` of a Hugging Face data set; and, where they can be classes (one per sample, and no more than
    half as many different ones as samples), the attributes `y`, `_labels`, `label` and `target`, and of a
    `TensorDataset` the last such tensor. Which one that is goes to the log of `dynsel`. A `Subset` and a
    `ConcatDataset` are followed to what is underneath.

    Args:
        dataset: Any map-style data set.
    """
    if isinstance(dataset, Subset):
        inner = declared_labels(dataset.dataset)
        return None if inner is None else _take(inner, dataset.indices)
    if isinstance(dataset, ConcatDataset):
        parts = [declared_labels(part) for part in dataset.datasets]
        known = all(part is not None for part in parts)
        return [_plain(label) for part in parts for label in part] if known else None
    for name in ("targets", "labels"):
        labels = getattr(dataset, name, None)
        if _is_one_each(labels, dataset):
            return labels
    if (labels := _column(dataset)) is not None:
        return labels
    candidates = [getattr(dataset, name, None) for name in ("y", "_labels", "label", "target")]
    candidates = [labels for labels in candidates if _is_one_each(labels, dataset)]
    found = next((labels for labels in candidates if _are_classes(labels)), None)
    tensors = getattr(dataset, "tensors", None)
    return _classes_among(tensors) if found is None and isinstance(tensors, tuple) else found


def _column(dataset: Any) -> Any:
    """The labels of a Hugging Face data set."""
    columns = getattr(dataset, "column_names", None)
    name = next((name for name in _NAMES if name in columns), None) if isinstance(columns, list) else None
    if name is None:
        return None
    # A format may decode every image only to give their labels.
    plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset
    labels = plain[name]
    return labels if isinstance(labels, Tensor | np.ndarray) else list(labels)


def declared_classes(dataset: Any) -> list[Any] | None:
    """The names of the classes that a data set tells of itself, in the order of their codes; None if it tells none.

    Where they are looked for: the attribute `classes`, and the column of labels of a Hugging Face data set, whose names
    are kept with its `features`. A `Subset` is followed to what is underneath, as is a `ConcatDataset` of parts with
    the same classes.

    Args:
        dataset: Any map-style data set.
    """
    if isinstance(dataset, Subset):
        return declared_classes(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        first, *others = (declared_classes(part) for part in dataset.datasets)
        return first if all(other == first for other in others) else None
    classes, features = getattr(dataset, "classes", None), getattr(dataset, "features", None)
    if classes is None and isinstance(features, Mapping):
        name = next((name for name in _NAMES if name in features), None)
        classes = getattr(features.get(name), "names", None)
    return list(classes) if isinstance(classes, list | tuple) else None


def _classes_among(tensors: Sequence[Tensor]) -> Tensor | None:
    # Numbers of the samples, lengths and weights stand behind the classes as often as not.
    for place in range(len(tensors) - 1, 0, -1):
        if _may_be_classes(tensors[place]):
            if len(tensors) > 2:
                logger.info("the classes of a TensorDataset are taken from its tensor %d of %d", place, len(tensors))
            return tensors[place]
    return None


def _may_be_classes(numbers: Tensor) -> bool:
    """Whether they are one per sample and at most half as many different ones as samples, or two."""
    return numbers.ndim == 1 and len(np.unique(numbers.detach().cpu().numpy())) <= max(2, len(numbers) // 2)


def _is_one_each(labels: Any, dataset: Any) -> bool:
    # What has a length may still refuse to tell it, as a tensor without dimensions does.
    try:
        return len(labels) == len(dataset)
    except TypeError:
        return False


def _are_classes(labels: Any) -> bool:
    """Whether they are one per sample and come up again; what all differ are names of the samples, or measurements."""
    if labels is None:
        return False
    try:
        codes, names = encode_labels(labels)
    except (TypeError, ValueError):
        return False
    return len(names) <= max(2, len(codes) // 2)


def _take(labels: Any, indices: Sequence[int]) -> Any:
    if isinstance(labels, Tensor):
        return labels[torch.as_tensor(indices, device=labels.device)]
    if isinstance(labels, np.ndarray):
        return labels[np.asarray(indices)]
    return [labels[i] for i in indices]


def _labels_by_pass(dataset: Any, progress_bar: bool) -> list[Any]:
    first: Any = dataset[0]
    key: Any = -1
    if isinstance(first, Mapping):
        key = next((name for name in _NAMES if name in first), None)
    if key is None or not isinstance(first, (tuple, list, Mapping)) or len(first) < 2:
        raise ValueError(
            f"class balance needs labels, and items of {type(dataset).__name__} are no (input, label) pairs, nor "
            f"dictionaries with a key `label`; {_WAY_OUT}"
        )
    rows = track(range(len(dataset)), "reading labels (one pass over the data set)", show=progress_bar)
    labels = [_plain(dataset[i][key]) for i in rows]
    # Of a handful nothing follows.
    hashable = all(isinstance(label, Hashable) for label in labels)
    if hashable and len(labels) >= 10 and len(set(labels)) == len(labels):
        raise ValueError(
            f"class balance needs labels, and the last entries of the items of {type(dataset).__name__} are no "
            f"classes: {len(labels)} different ones in {len(labels)} samples; {_WAY_OUT}"
        )
    return labels


def check_labels(labels: Any) -> None:
    """Check that something can be labels, one per sample and in their order, before there are samples.

    Args:
        labels: (N,) tensor, array or sequence.

    Raises:
        TypeError: If it is a text, a dict, a set, or has no length.
        ValueError: If it isn't one-dimensional, or is masked.
    """
    if isinstance(labels, (str, bytes, Mapping, Set)):
        way_out = "pass its values as a list, in the order of the samples" if isinstance(labels, Mapping) else ""
        way_out = "a text's letters are no labels" if isinstance(labels, (str, bytes)) else way_out
        raise TypeError(
            "`labels` must be an array or a list, one per sample and in their order, got "
            f"{type(labels).__name__}; {way_out or 'a set has no order'}"
        )
    shape = getattr(labels, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise ValueError(f"`labels` must be (N,), one per sample, got shape {tuple(shape)}")
    if not isinstance(labels, Sized):
        raise TypeError(f"`labels` must be an array or a list, one per sample and in their order, got {labels!r}")
    if isinstance(labels, np.ma.MaskedArray) and bool(np.ma.getmaskarray(labels).any()):
        rows = np.flatnonzero(np.ma.getmaskarray(labels).reshape(len(labels), -1).any(1)).tolist()
        raise ValueError(
            f"`labels` must be known for every sample, got masked ones in {name_rows(rows)}; leave these samples "
            "out, or give them a class of their own"
        )


def by_position(values: Any) -> Any:
    """A pandas Series or DataFrame as an array, for `values[i]` asks it for a row's name; others as they are.

    Args:
        values: (N, ...) of any kind.
    """
    return values.to_numpy() if hasattr(values, "iloc") else values


def _as_array(labels: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(labels, Tensor):
        return labels.detach().cpu().numpy()
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return labels
    if isinstance(labels, Sequence) and not isinstance(labels, str) and labels:
        kinds = {type(label) for label in labels}
        if len(kinds) == 1 and kinds <= {int, float, str, bool}:
            return np.asarray(labels)
    return None


def _encode_objects(labels: list[Any]) -> tuple[list[Hashable], np.ndarray[Any, Any]]:
    try:
        seen = dict.fromkeys(labels)
    except TypeError as error:
        raise TypeError(
            f"`labels` must be hashable (numbers, strings, tuples), got {type(labels[0]).__name__}: {error}"
        ) from error
    names: list[Hashable] = list(seen)
    try:
        names.sort(key=_itself)  # mixed types keep their order of appearance
    except TypeError:
        names = list(seen)
    code = {name: i for i, name in enumerate(names)}
    return names, np.fromiter((code[label] for label in labels), dtype=np.int64, count=len(labels))


def _plain(label: Any) -> Any:
    # Tensors hash by identity: each would be a class of its own.
    return label.item() if isinstance(label, Tensor) and label.ndim == 0 else label


def _itself(label: Any) -> Any:
    return label
