"""Samples to leave out: positions, or a file that names them."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import as_tensor, check_path
from dynsel._lib.tables import escape_surrogates, not_utf8
from dynsel.samplers.findings.table import absolute
from dynsel.samplers.frame import declared_paths

__all__ = ["check_exclude", "kept_indices"]

_LETTERS = 60  # of a text in a message


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
            column `path` alone. Where it has an index with a path or a text, and the data set tells its own, they must
            be the same. Paths may be relative to any folder. Findings must be of one kind, and not all of a group of
            duplicates.
        dataset: The data set.

    Returns:
        (n,) int64, ascending.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is something else.
        ValueError: If an index is out of range, a path isn't among those of the data set or could be several of them,
            paths or texts are of other samples, findings are of several kinds or whole groups of duplicates, letters
            can't be told that matter, or nothing would be left.
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
    # Names of files needn't be UTF-8; other letters matter only where they are compared.
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    if any(map(_is_garbled, columns)):
        raise ValueError(f"`exclude`: {not_utf8(path)}")
    _check_kind(rows, path)
    paths = declared_paths(dataset) if "path" in columns else None
    if "index" in columns:
        numbers = [_whole(row["index"], path) for row in rows]
        if paths is not None:
            _check_paths(rows, numbers, paths, path)
        if "text" in columns:
            _check_texts(rows, numbers, dataset, path)
        return torch.tensor(numbers, dtype=torch.int64)
    if paths is None:
        raise ValueError(f"`exclude`: {path} must have a column `index`, got {', '.join(columns) or 'nothing'}")
    return torch.tensor(_by_paths([row["path"] or "" for row in rows], paths, path), dtype=torch.int64)


def _check_paths(rows: list[dict[str, str]], numbers: list[int], paths: list[str], path: Path) -> None:
    for number, told, held in _pairs(rows, numbers, "path", paths):
        if not _same_file(told, held):
            if _is_garbled(told):
                raise ValueError(f"`exclude`: {not_utf8(path)}")
            raise ValueError(
                f"`exclude`: {path} says that sample {number} is {told}, in the data set it is "
                f"{escape_surrogates(held)}: leave out the column `index` to go by the paths, or find anew"
            )


def _check_texts(rows: list[dict[str, str]], numbers: list[int], dataset: Any, path: Path) -> None:
    from dynsel.samplers.findings.inputs import held_texts  # with graphs, which training may not need

    for number, told, held in _pairs(rows, numbers, "text", held_texts(dataset) or []):
        # A file of our own has a ' before what a spreadsheet would take for a formula.
        if not _is_garbled(told) and _flat(told) not in (_flat(held), _flat(f"'{held}")):
            raise ValueError(
                f"`exclude`: {path} says that sample {number} is {_short(told)}, in the data set it is "
                f"{_short(held)}: it is another data set, or in another order; find anew, or delete the column `text` "
                "to go by the numbers all the same"
            )


def _pairs(
    rows: list[dict[str, str]], numbers: list[int], column: str, held: list[str]
) -> Iterator[tuple[int, str, str]]:
    """Number, what the file says and what the data set says, of the samples that both tell of."""
    for number, row in zip(numbers, rows, strict=True):
        if row[column] and 0 <= number < len(held):
            yield number, row[column], held[number]


def _by_paths(names: list[str], paths: list[str], path: Path) -> list[int]:
    """Positions of files; those that aren't found as they are may be named from another folder."""
    place = {absolute(escape_surrogates(held)): number for number, held in enumerate(paths)}
    by_end: dict[str, dict[str, str]] = defaultdict(dict)
    for held in map(escape_surrogates, paths):
        by_end[os.path.basename(held)][absolute(held)] = held
    numbers = []
    for name in names:
        whole = absolute(escape_surrogates(name))
        like = by_end[os.path.basename(whole)].items()
        found = [whole] if whole in place else [other for other, held in like if _same_file(name, held)]
        if len(found) > 1:
            raise ValueError(
                f"`exclude`: {path} names {name!r}, which may be {found[0]!r} or {found[1]!r}: write more of the path"
            )
        if not found:
            if _is_garbled(name):
                raise ValueError(f"`exclude`: {not_utf8(path)}")
            raise ValueError(f"`exclude`: {path} names {name!r}, which isn't among the paths of the data set")
        numbers.append(place[found[0]])
    return numbers


def _same_file(one: str, other: str) -> bool:
    """Whether two paths may be of one file: they are equal, or the one is the end of the other."""
    one, other = escape_surrogates(one), escape_surrogates(other)
    if absolute(one) == absolute(other):
        return True
    if "://" in one or "://" in other:
        return False
    short, long = sorted((_parts(one), _parts(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _parts(path: str) -> list[str]:
    return [part for part in Path(os.path.normpath(path)).parts if part != ".."]


def _is_garbled(text: str) -> bool:
    """Whether there are bytes in it that aren't UTF-8."""
    return text != escape_surrogates(text)


def _flat(text: str) -> str:
    # Spreadsheets have line breaks of their own.
    return " ".join(escape_surrogates(text).split())


def _short(text: str) -> str:
    return repr(_flat(text) if len(_flat(text)) <= _LETTERS else _flat(text)[: _LETTERS - 1] + "…")


def _check_kind(rows: list[dict[str, str]], path: Path) -> None:
    """Findings of all kinds, as in findings.csv, are much that is right and of use."""
    kinds = list(dict.fromkeys(kind for row in rows if (kind := row.get("finding"))))
    if len(kinds) > 1 and set(kinds) != {"wrong_label", "copy"}:
        raise ValueError(
            f"`exclude`: {path} must have suspected labels, copies or both, got {', '.join(kinds)}: rare and hard "
            "samples, and the originals of duplicates, would be left out with the rest; take suspects.csv or "
            'copies.csv, write both in one by `findings.to_csv(path, kinds=["wrong_label", "copy"])`, or delete the '
            "other rows"
        )
    if kinds == ["duplicate"]:
        raise ValueError(
            f"`exclude`: {path} has whole groups of duplicates, originals too, of which nothing would be left: take "
            'copies.csv, write it by `findings.to_csv(path, kinds=["copy"])`, or delete the originals and the column '
            "`finding`"
        )


def _whole(text: Any, path: Path) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise ValueError(f"`exclude`: {path} must have whole numbers in its column `index`, got {text!r}") from None
