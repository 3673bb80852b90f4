"""All that is known of each sample, as a table."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from dynsel.labels import declared_labels
from dynsel.selectors import Selector

__all__ = ["as_frame", "declared_paths", "sample_columns"]

Column = NDArray[Any]
# Columns of a Hugging Face data set that say where an item comes from.
PATHS = ("path", "file", "file_name", "filename", "image_path")


def sample_columns(
    selector: Selector, dataset: Any, pool: Tensor | None = None, labels: Any = None
) -> dict[str, Column]:
    """The columns of the table, each with an entry per sample.

    Args:
        selector: Bound to the data set.
        dataset: The whole data set, not only the pool.
        pool: (P,) indices of the samples that are ever taken from it; None = every one.
        labels: (N,) labels of the data set or (P,) of the pool; None takes those that the data set tells.

    Returns:
        `index` in the data set, `path` and `label` where they are known, `uses`, `last_score`, `mean_score` and
        `last_loss`, which are NaN where the selector doesn't go by such.
    """
    count = selector.num_samples
    part = dataset if pool is None else Subset(dataset, pool.tolist())
    columns: dict[str, Column] = {"index": np.arange(count) if pool is None else pool.numpy()}
    if (paths := declared_paths(part)) is not None:
        columns["path"] = np.asarray(paths, dtype=object)
    if labels is not None and pool is not None and len(labels) == len(dataset):
        labels = [labels[i] for i in pool.tolist()]
    labels = declared_labels(part) if labels is None else labels
    labels = selector.labels if labels is None else labels
    if labels is not None:
        columns["label"] = _column(labels)
    columns["uses"] = selector.usage.numpy().copy()
    for name in ("last_score", "mean_score", "last_loss"):
        known = getattr(selector.notes, name)
        columns[name] = np.full(count, np.nan, dtype=np.float32) if known is None else known.numpy().copy()
    return columns


def as_frame(columns: dict[str, Column]) -> Any:
    """Columns as a table.

    Args:
        columns: Columns of one length, by name.

    Returns:
        A pandas DataFrame, or the columns as they are where pandas isn't installed.
    """
    try:
        import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return columns
    return pd.DataFrame(columns)


def declared_paths(dataset: Any) -> list[str] | None:
    """Where the items come from, as an ImageFolder or a Hugging Face data set tells it; None if it doesn't.

    Args:
        dataset: Any map-style data set; `Subset` and `ConcatDataset` are followed.
    """
    if isinstance(dataset, Subset):
        inner = declared_paths(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [declared_paths(part) for part in dataset.datasets]
        return [path for part in parts if part for path in part] if all(part is not None for part in parts) else None
    for name in ("samples", "imgs"):
        items = getattr(dataset, name, None)
        if isinstance(items, list) and len(items) == len(dataset) and items and _begins_with_path(items[0]):
            return [str(item[0]) for item in items]
    columns = getattr(dataset, "column_names", None)
    known = [name for name in PATHS if name in columns] if isinstance(columns, list) else []
    return [str(path) for path in dataset[known[0]]] if known else None


def _begins_with_path(item: Any) -> bool:
    # Other data sets keep their items under the same name.
    return isinstance(item, tuple | list) and bool(item) and isinstance(item[0], str | os.PathLike)


def _column(labels: Any) -> Column:
    if isinstance(labels, torch.Tensor):
        return labels.detach().cpu().numpy().copy()
    if isinstance(labels, np.ndarray):
        return labels.copy()
    column: Column = np.empty(len(labels), dtype=object)
    column[:] = [label.item() if isinstance(label, Tensor) and label.ndim == 0 else label for label in labels]
    return column
