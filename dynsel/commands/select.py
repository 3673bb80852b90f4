"""`dynsel select`: a subset chosen once, written with how it came about."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel._lib.console import open_console, say, status, value_table
from dynsel._lib.files import write_atomically
from dynsel._lib.provenance import provenance
from dynsel.commands._arguments import CommandParser

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from dynsel.selectors import Selector

__all__ = ["select"]


def select(args: list[str]) -> int:
    """Run `dynsel select`.

    Args:
        args: Options of the command, as `choose` has them.

    Returns:
        Exit code: 0.
    """
    parser = CommandParser("dynsel select")
    parser.add_signature(choose, "args")
    choose(**vars(parser.parse_args(args)), args=args)
    return 0


def choose(
    features: str,
    keep_ratio: float,
    out: Path,
    labels: str | None = None,
    selector: str = "fast",
    seed: int = 0,
    *,
    args: list[str],
) -> None:
    """Choose a subset from features alone, and write it as JSON.

    Args:
        features: (N, d) array: feature store, .npy, or .npz:KEY.
        keep_ratio: Share of the samples to keep, in (0, 1].
        out: Manifest to write, ending in .json.
        labels: (N,) labels, .npy or .npz:KEY; each class is then kept in its share.
        selector: Who chooses: short name or class path, with arguments as in fast:dim=32.
        seed: Seed of the selector and of the random subsets.
        args: The command line, to be written down.

    Raises:
        FileNotFoundError: If the features or the labels aren't there.
        ValueError: If the selector can't choose without training, or an option is out of range.
    """
    if out.suffix != ".json":
        raise ValueError(f"`--out` must end in .json, got {out.name!r}")
    from dynsel._lib.outputs import check_output
    from dynsel.coreset import coreset_report, select_coreset
    from dynsel.features.arrays import load_features
    from dynsel.features.label_files import load_labels
    from dynsel.selectors.spec import parse_selector

    check_output("--out", out)
    console, progress = open_console(), open_console(stderr=True)
    name = selector.partition(":")[0]
    known, arguments = parse_selector(selector)
    rows = load_features(features)
    codes, classes = (None, []) if labels is None else load_labels(labels, len(rows))
    parameters = inspect.signature(known).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.name not in ("seed", "progress_bar")}
    start = time.perf_counter()
    with _waiting(known, f"{name}: choosing from {len(rows):,} samples …", progress) as shown:
        indices = select_coreset(name, rows, codes, keep_ratio, seed, **shown | arguments)
    seconds = time.perf_counter() - start
    with status(progress, "comparing with random subsets …"):
        report = coreset_report(rows, indices, codes, seed)
    manifest = {
        "indices": indices.tolist(),
        "N": len(rows),
        "M": len(indices),
        "keep_ratio": keep_ratio,
        "selector": name,
        "arguments": {**defaults, "class_balance": labels is not None, **arguments},
        "seed": seed,
        "features": {**_file_facts(features), "d": rows.shape[1], "dtype": str(rows.dtype)},
        "labels": None if labels is None else _file_facts(labels),
        "classes": _class_counts(indices, codes, classes),
        "seconds": round(seconds, 3),
        "report": report,
        **provenance(["select", *args], ("torch", "numpy", "scipy", "scikit-learn", "torch-geometric")),
    }
    write_atomically(out, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    _print(manifest, out, console)


@contextmanager
def _waiting(known: type[Selector], text: str, progress: Console) -> Iterator[dict[str, Any]]:
    """Show the selector's own progress bar, by the arguments yielded, or else a text for as long as it is at work."""
    if "progress_bar" in inspect.signature(known).parameters:
        yield {"progress_bar": True} if progress.is_terminal else {}
        return
    with status(progress, text):
        yield {}


def _file_facts(source: str) -> dict[str, Any]:
    from dynsel._lib.array_files import split_key
    from dynsel.features.store import find_store

    path, key = split_key(source)
    if os.path.isdir(path):
        path = os.fspath(find_store(path))
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path, "key": key, "bytes": os.path.getsize(path), "sha256": digest}


def _class_counts(indices: Tensor, labels: Tensor | None, classes: list[Any]) -> list[dict[str, Any]] | None:
    if labels is None:
        return None
    whole, kept = (codes.long().bincount(minlength=len(classes)).tolist() for codes in (labels, labels[indices]))
    return [{"class": c, "kept": k, "of": n} for c, k, n in zip(classes, kept, whole, strict=True)]


def _print(manifest: dict[str, Any], out: Path, console: Console) -> None:
    report, rows = manifest["report"], []
    for name, title in (("cfd", "CFD"), ("pd_cfd", "phase-decoupled CFD")):
        found, z = report[name], report[name]["z"]
        values = (found["random"]["mean"], found["random"]["best"], found["coreset"])
        rows.append((title, *(f"{value:.2e}" for value in values), "–" if z is None else f"{z:+.1f}"))
    chosen = f"{manifest['M']:,} of {manifest['N']:,} samples in {manifest['seconds']:.1f} s"
    say(console, f"{manifest['selector']}: {chosen}")
    console.print(value_table(("distance to the whole set", "random (mean)", "random (best)", "chosen", "z"), rows))
    ratio = math.nan if report["ratio"] is None else report["ratio"]
    say(console, f"CFD / random floor = {ratio:.3f}; {out}")
