"""Samples to leave out: positions, or a file that names them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import as_tensor, check_path
from dynsel.samplers.findings.table import absolute
from dynsel.samplers.frame import declared_paths

__all__ = ["check_exclude", "kept_indices"]


def check_exclude(exclude: Any) -> Any:
    """Check that something can say which samples to leave out, before there are samples; no file is looked for.

    Args:
        exclude: As `kept_indices` takes it; None = nothing.

    Returns:
        The same.

    Raises:
        TypeError: If it is of a kind that can't be any.
        ValueError: If it is an empty path, or one that no file system takes.
    """
    if exclude is None or isinstance(exclude, list | tuple | Tensor | np.ndarray):
        return exclude
    if isinstance(exclude, str | Path):
        check_path("exclude", exclude)
        return exclude
    raise TypeError(f"`exclude` must be indices of samples, a .csv file, or an .npy file of them, got {exclude!r}")


def kept_indices(exclude: Any, dataset: Any) -> Tensor:
    """Indices of the samples that aren't left out.

    Args:
        exclude: Data set indices of samples to leave out: integers as a list, a tensor, an array or the path of an
            `.npy` file; or the path of a CSV file with a column `index`, as `dynsel findings` writes it, or with a
            column `path` alone. Where it has both and the data set tells its paths, they must be those of the same
            files. Findings must be of one kind.
        dataset: The data set.

    Returns:
        (n,) int64, ascending.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is something else.
        ValueError: If an index is out of range, a path isn't among those of the data set, findings are of several
            kinds, or nothing would be left.
    """
    count = len(dataset)
    is_table = isinstance(exclude, str | Path) and str(exclude).lower().endswith(".csv")
    rows = _read(check_path("exclude", exclude), dataset) if is_table else _numbers(exclude)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise ValueError(
            f"`exclude` must name samples in 0 .. {count - 1}, got {int(rows.min())} .. {int(rows.max())}: "
            "it is about another data set"
        )
    keep = torch.ones(count, dtype=torch.bool)
    keep[rows] = False
    if not keep.any():
        raise ValueError(f"`exclude` names all {count} samples, so that nothing is left to train on")
    return keep.nonzero()[:, 0]


def _numbers(exclude: Any) -> Tensor:
    if isinstance(exclude, list | tuple) and not exclude:
        return torch.zeros(0, dtype=torch.int64)
    rows = as_tensor("exclude", exclude, "indices of samples, a .csv file")
    if rows.ndim != 1 or rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise ValueError(f"`exclude` must be whole numbers, got shape {tuple(rows.shape)} of {rows.dtype}")
    return rows.long()


def _read(path: Path, dataset: Any) -> Tensor:
    """Indices that a CSV file names."""
    if not path.is_file():
        raise FileNotFoundError(f"`exclude`: there is no file {path}")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    _check_kind(rows, path)
    paths = declared_paths(dataset) if "path" in columns else None
    if "index" in columns:
        numbers = [_whole(row["index"], path) for row in rows]
        for number, row in zip(numbers, rows, strict=True):
            if paths is None or not row["path"] or not 0 <= number < len(paths):
                continue
            # The one may be relative where the other isn't.
            if absolute(paths[number]) != absolute(row["path"]):
                raise ValueError(
                    f"`exclude`: {path} says that sample {number} is {row['path']}, in the data set it is "
                    f"{paths[number]}: leave out the column `index` to go by the paths, or find anew"
                )
        return torch.tensor(numbers, dtype=torch.int64)
    if paths is None:
        raise ValueError(f"`exclude`: {path} must have a column `index`, got {', '.join(columns) or 'nothing'}")
    place = {absolute(name): number for number, name in enumerate(paths)}
    names = [row["path"] or "" for row in rows]
    unknown = [name for name in names if absolute(name) not in place]
    if unknown:
        raise ValueError(f"`exclude`: {path} names {unknown[0]!r}, which isn't among the paths of the data set")
    return torch.tensor([place[absolute(name)] for name in names], dtype=torch.int64)


def _check_kind(rows: list[dict[str, str]], path: Path) -> None:
    """Findings of all kinds, as in findings.csv, are much that is right and of use."""
    kinds = list(dict.fromkeys(kind for row in rows if (kind := row.get("finding"))))
    if len(kinds) > 1:
        raise ValueError(
            f"`exclude`: {path} must have findings of one kind, got {', '.join(kinds)}: rare and hard samples, and the "
            "originals of duplicates, would be left out with the rest; take suspects.csv, write it by "
            '`findings.to_csv(path, kinds=["wrong_label"])`, or delete the other rows'
        )


def _whole(text: Any, path: Path) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise ValueError(f"`exclude`: {path} must have whole numbers in its column `index`, got {text!r}") from None
