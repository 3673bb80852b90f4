"""Findings on disk: read from a checkpoint, written to a folder."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynsel._lib.files import write_atomically
from dynsel._lib.tables import escape_surrogates, not_utf8
from dynsel.samplers.findings.evidence import Evidence
from dynsel.samplers.findings.export import EXPORTS
from dynsel.samplers.findings.page import findings_html
from dynsel.samplers.findings.table import Findings

__all__ = ["Told", "read_checkpoint", "read_table", "write_findings"]

# What labels, paths and texts are called by in a table, the first that is there.
_NAMES = {
    "labels": ("label", "labels", "target", "class", "category"),
    "paths": ("path", "file", "file_name", "filename", "filepath", "image", "image_path"),
    "texts": ("text", "sentence", "question", "content"),
}

# What one run or another writes.
_FILES = (
    *("findings.html", "findings.csv", "findings.parquet", "suspects.csv", "copies.csv"),
    *(name for name, _ in EXPORTS.values()),
)


class Told(NamedTuple):
    """What a checkpoint says of the samples of a training.

    Attributes:
        evidence: What the model said of the labels, or None.
        usage: (N,) int32, how often each was trained on.
        pool: (N,) int64, indices in the data set; None = all.
    """

    evidence: Evidence | None
    usage: Tensor
    pool: Tensor | None


def read_checkpoint(path: Path) -> Told:
    """What a training with `DynamicSelection` left in a checkpoint; only tensors and plain values are unpickled.

    Args:
        path: A checkpoint of Lightning, or a file with the state of a `SelectionController`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it can't be read, or there was no selection.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if refused := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
            raise ValueError(
                f"{path} has objects besides tensors and plain values ({refused[1]}), which aren't unpickled, for that "
                "may run what others wrote: keep them out of `save_hyperparameters`, or call `selection.findings()` at "
                "the end of the training"
            ) from error
        raise ValueError(f"{path} is no checkpoint of Lightning's, or damaged") from error
    state = _selection_of(tree)
    if state is None:
        raise ValueError(f"{path} is of no training with a selection: add DynamicSelection to the Trainer's callbacks")
    usage, told = state["selector"]["usage"], dict(state.get("evidence") or {})
    pool = told.pop("pool", None)
    evidence = None
    if told:
        evidence = Evidence(len(usage))
        evidence.load_state_dict(told)
    return Told(evidence, usage, pool)


def _selection_of(tree: Any) -> dict[str, Any] | None:
    """The state of a selection, wherever in a checkpoint it stands."""
    if not isinstance(tree, dict):
        return None
    selector = tree.get("selector")
    if isinstance(selector, dict) and isinstance(selector.get("usage"), Tensor):
        return tree
    return next((found for value in tree.values() if (found := _selection_of(value)) is not None), None)


def read_table(path: Path) -> dict[str, list[str]]:
    """Labels, paths and texts of a CSV file with a row for each sample, in the data set's order.

    Args:
        path: File with a line of headings, such as `path,label`, in upper or lower case.

    Returns:
        `labels`, `paths` and `texts`, those that it has.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has none of these, or isn't UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except UnicodeDecodeError:
        raise ValueError(not_utf8(path)) from None
    # Where a name is there in two spellings, the exact one counts.
    spelled = {column.strip().lower(): column for column in reversed(columns)} | {name: name for name in columns}
    found = {}
    for kind, names in _NAMES.items():
        name = next((spelled[name] for name in names if name in spelled), None)
        if name is not None:
            found[kind] = [row[name] for row in rows]
    if not found:
        known = ", ".join(names[0] for names in _NAMES.values())
        raise ValueError(f"{path} must have a column {known} or the like, got {', '.join(columns) or 'nothing'}")
    return found


def write_findings(
    findings: Findings,
    dataset: Any,
    folder: Path,
    *,
    title: str,
    command: str = "",
    exports: tuple[str, ...] = (),
    limit: int = 60,
) -> list[Path]:
    """Write tables, page and exports; Parquet where pandas and pyarrow are installed.

    What an earlier run left under these names, and isn't written this time, goes: it is of other findings. Letters that
    no encoding has, as in names of files that aren't UTF-8, are escaped.

    Args:
        findings: What was found.
        dataset: The data set that it is about.
        folder: Where to write; made if need be.
        title: Title of the page.
        command: How to train without the suspected labels.
        exports: Names of other tools, of `EXPORTS`.
        limit: Number of samples of each kind that the page shows.

    Returns:
        What was written, the page first.

    Raises:
        ValueError: If an export lacks what its tool wants.
    """
    findings = _encodable(findings)
    texts = {EXPORTS[name][0]: EXPORTS[name][1](findings) for name in exports}
    page = findings_html(findings, dataset, title=title, command=command, limit=limit)
    written = [folder / "findings.html", folder / "findings.csv"]
    write_atomically(written[0], escape_surrogates(page))
    findings.to_csv(written[1])
    if "wrong_label" in findings.kinds:
        written.append(folder / "suspects.csv")
        findings.to_csv(written[-1], kinds=["wrong_label"])
    if "duplicate" in findings.kinds:
        written.append(folder / "copies.csv")
        findings.to_csv(written[-1], kinds=["copy"])
    if find_spec("pandas") is not None and find_spec("pyarrow") is not None:
        written.append(folder / "findings.parquet")
        findings.to_parquet(written[-1])
    for name, text in texts.items():
        written.append(folder / name)
        write_atomically(written[-1], text)
    for path in {folder / name for name in _FILES} - set(written):
        if path.is_file():
            path.unlink()
    return written


def _encodable(findings: Findings) -> Findings:
    """The same findings, their texts, paths and labels such that any file can hold them."""
    samples = dict(findings.samples)
    for name, column in samples.items():
        if column.dtype == object:
            samples[name] = column.copy()
            samples[name][:] = [escape_surrogates(str(v)) if isinstance(v, str | Path) else v for v in column]
    return replace(findings, samples=samples)
