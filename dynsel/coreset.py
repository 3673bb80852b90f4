"""A subset chosen once, before training: `dynsel select`, and what it writes."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.files import write_atomically
from dynsel._lib.matrices import Matrix
from dynsel.cfd import cfd, characteristic_sums, gaussian_frequencies, median_scale, phase_decoupled, random_floor
from dynsel.commands._arguments import Parser
from dynsel.features.array_files import split_key
from dynsel.features.arrays import load_features
from dynsel.features.label_files import load_labels
from dynsel.features.store import find_store
from dynsel.schedules import as_keep_ratio, sample_count
from dynsel.selection import balanced_top_k, top_k
from dynsel.selectors import SELECTORS, BatchSelector, CandidateSelector, selector_class
from dynsel.selectors.spec import parse_value

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["coreset_report", "offline_methods", "select", "select_coreset"]

_FREQUENCIES = 1024
EPILOG = """\
The manifest holds the chosen indices (ascending) and how they came about; train on them with
torch.utils.data.Subset(dataset, json.load(open("subset.json"))["indices"]). Its report says how far the subset is from
the whole set by characteristic functions of the features, beside class-balanced random subsets of the same size.
"""


def offline_methods() -> list[str]:
    """Short names of the selectors that can choose a subset from features alone, without training."""
    return sorted(name for name, method in SELECTORS.items() if _obstacle(method()) is None)


def _obstacle(selector: Any) -> str | None:
    """Why a selector can't choose offline."""
    if isinstance(selector, BatchSelector | CandidateSelector):
        return "chooses inside the batches of a training"
    if selector.wants:
        parts = sorted({"value": "logits"}.get(part, part) for part in selector.wants)
        return f"chooses by {', '.join(parts)}, which only training gives"
    return None if selector.exact else "chooses no given number of samples"


def select_coreset(
    method: str, features: Matrix, labels: Tensor | None = None, keep: float = 0.1, seed: int = 0, **options: Any
) -> Tensor:
    """Choose a subset once, as a selector does before the first epoch.

    Args:
        method: Short name of a selector (`offline_methods`).
        features: (N, d) floating-point tensor, array or memory map.
        labels: (N,) class codes 0 .. C-1 (`dynsel.labels.encode_labels`): every class is then kept in its share.
            Without them all samples are one class.
        keep: Share of the samples to choose, in (0, 1].
        seed: Of all draws.
        **options: Arguments of the selector.

    Returns:
        (M,) int64, ascending.

    Raises:
        TypeError: If the selector has no such argument.
        ValueError: If the method is unknown or can't choose without training, or an argument is out of range.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]])
        >>> select_coreset("k-center", features, keep=0.4).tolist()
        [2, 4]
    """
    size = sample_count(as_keep_ratio(keep)(0.0), len(features))
    chooser = selector_class(method)
    known = inspect.signature(chooser).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"{method} has no argument `{unknown[0]}`; it has {', '.join(known)}")
    given = {"class_balance": labels is not None, "seed": seed}
    selector = chooser(**{name: value for name, value in given.items() if name in known} | options)
    if why := _obstacle(selector):
        raise ValueError(f"`method` must choose without training; {method} {why}; try {' or '.join(offline_methods())}")
    selector.bind(len(features), labels, seed=seed)
    if selector.needs_features:
        selector.fit(features)
    return selector.select(0.0, size).indices.sort().values


def coreset_report(
    features: Matrix, indices: Tensor, labels: Tensor | None = None, seed: int = 0, subsets: int = 20
) -> dict[str, Any]:
    """How far a subset is from the whole set, beside random subsets of the same size and class shares.

    Characteristic functions are compared at 1,024 Gaussian frequencies of the features' median scale. A share of
    classes that isn't the whole set's shows as distance.

    Args:
        features: (N, d) floating point.
        indices: (M,) the subset.
        labels: (N,) class codes, or None for subsets of any classes.
        seed: Of frequencies and random subsets.
        subsets: Number of random subsets, at least 2.

    Returns:
        Plain numbers: for "cfd" and "pd_cfd" (phase-decoupled) that of the `coreset`; of `random` subsets the mean,
        standard deviation and best; and z, how many standard deviations the coreset is above that mean. `floor` is
        the expected CFD of a random subset of any classes, and `ratio` the coreset's in units of it; class-balanced
        subsets are below 1 by themselves, so it is to be compared with that of their mean.
    """
    if subsets < 2:
        raise ValueError(f"`subsets` must be at least 2, got {subsets}")
    generator = torch.Generator().manual_seed(seed)
    count, size = len(features), len(indices)
    t = gaussian_frequencies(_FREQUENCIES, features.shape[1], median_scale(features, generator), generator)
    value = characteristic_sums(features, t).value()

    def distances(chosen: Tensor) -> tuple[float, float]:
        mask = torch.zeros(count)
        mask[chosen] = 1
        now = characteristic_sums(features, t, mask).value()
        return float(cfd(now, value)), float(phase_decoupled(now, value, t.to(now.device)).mean())

    def random_subset() -> Tensor:
        scores = torch.rand(count, generator=generator)
        return top_k(scores, size) if labels is None else balanced_top_k(scores, labels, size)

    ours = distances(indices)
    theirs = np.array([distances(random_subset()) for _ in range(subsets)])
    floor = random_floor(value, size, count)
    report: dict[str, Any] = {"frequencies": _FREQUENCIES, "random_subsets": subsets, "floor": floor}
    report["ratio"] = ours[0] / floor if floor else None
    for name, mine, others in zip(("cfd", "pd_cfd"), ours, theirs.T, strict=True):
        mean, spread = float(others.mean()), float(others.std(ddof=1))
        report[name] = {
            "coreset": mine,
            "random": {"mean": mean, "std": spread, "best": float(others.min())},
            "z": (mine - mean) / spread if spread > 0 else None,
        }
    return report


# ---------------------------------------------------------------- the command
def _parse(args: list[str]) -> argparse.Namespace:
    parser = Parser("dynsel select", "Choose a subset once, from features alone, and write it as JSON.", EPILOG)
    files = "FILE[:KEY]"
    parser.add_argument("--method", default="fast", metavar="NAME", help="short name of a selector (default: fast)")
    parser.add_argument("--keep", type=float, required=True, metavar="RATIO", help="share to keep, in (0, 1]")
    parser.add_argument("--features", required=True, metavar=files, help="(N, d) array: .npy, or .npz with a key")
    parser.add_argument("--labels", metavar=files, help="(N,) labels; each class is then kept in its share")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="manifest to write, ending in .json")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all draws (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of the selector, as in --set dim=32; may be repeated",
    )
    options = parser.parse_args(args)
    if options.out.suffix != ".json":
        raise ValueError(f"`--out` must end in .json, got {options.out.name!r}")
    return options


def select(args: list[str]) -> int:
    """Run `dynsel select`.

    Args:
        args: Its options.

    Returns:
        Exit code: 0.
    """
    try:
        options = _parse(args)
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
    from rich.console import Console

    console = Console()
    arguments = _arguments(options.set)
    features = load_features(options.features)
    labels, classes = (None, []) if options.labels is None else load_labels(options.labels, len(features))
    shown = dict(arguments)
    if console.is_terminal and "progress_bar" in inspect.signature(selector_class(options.method)).parameters:
        shown = {"progress_bar": True, **arguments}
    start = time.perf_counter()
    indices = select_coreset(options.method, features, labels, options.keep, options.seed, **shown)
    seconds = time.perf_counter() - start
    with console.status("comparing with random subsets …"):
        report = coreset_report(features, indices, labels, options.seed)
    manifest = {
        "indices": indices.tolist(),
        "N": len(features),
        "M": len(indices),
        "keep_ratio": options.keep,
        "method": options.method,
        "arguments": {**_defaults(options.method), "class_balance": labels is not None, **arguments},
        "seed": options.seed,
        "command": shlex.join(["dynsel", "select", *args]),
        "features": {**_file_facts(options.features), "d": features.shape[1], "dtype": str(features.dtype)},
        "labels": None if options.labels is None else _file_facts(options.labels),
        "classes": _class_counts(indices, labels, classes),
        "seconds": round(seconds, 3),
        "report": report,
        **_environment(),
    }
    write_atomically(options.out, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    _print(manifest, options.out, console)
    return 0


def _arguments(settings: list[str]) -> dict[str, Any]:
    """KEY=VALUE with a value in JSON, or else plain text."""
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"`--set` must be KEY=VALUE, got {setting!r}")
        found[key] = parse_value(value)
    return found


def _defaults(method: str) -> dict[str, Any]:
    parameters = inspect.signature(selector_class(method)).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("seed", "progress_bar")}


def _file_facts(source: str) -> dict[str, Any]:
    path, key = split_key(source)
    if os.path.isdir(path):
        path = os.fspath(find_store(path))
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path, "key": key, "bytes": os.path.getsize(path), "sha256": digest}


def _class_counts(indices: Tensor, labels: Tensor | None, classes: list[Any]) -> list[dict[str, Any]] | None:
    if labels is None:
        return None
    whole = torch.bincount(labels.long(), minlength=len(classes)).tolist()
    kept = torch.bincount(labels[indices].long(), minlength=len(classes)).tolist()
    return [{"class": c, "kept": k, "of": n} for c, k, n in zip(classes, kept, whole, strict=True)]


def _environment() -> dict[str, Any]:
    from importlib.metadata import version

    import dynsel
    from dynsel.compare.facts import hardware, today

    names = ("torch", "numpy", "scipy", "scikit-learn", "torch-geometric")
    return {
        "versions": {"dynsel": dynsel.__version__, **{name: version(name) for name in names}},
        "hardware": hardware(),
        "date": today(),
    }


def _print(manifest: dict[str, Any], out: Path, console: Console) -> None:
    from rich import box
    from rich.table import Table

    report = manifest["report"]
    table = Table(box=box.SIMPLE_HEAD)
    for i, heading in enumerate(("distance to the whole set", "random (mean)", "random (best)", "chosen", "z")):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for name, title in (("cfd", "CFD"), ("pd_cfd", "phase-decoupled CFD")):
        row, z = report[name], report[name]["z"]
        values = (row["random"]["mean"], row["random"]["best"], row["coreset"])
        table.add_row(title, *(f"{value:.2e}" for value in values), "–" if z is None else f"{z:+.1f}")
    console.print(
        f"{manifest['method']}: {manifest['M']:,} of {manifest['N']:,} samples in {manifest['seconds']:.1f} s",
        highlight=False,
    )
    console.print(table)
    ratio = math.nan if report["ratio"] is None else report["ratio"]
    console.print(f"CFD / random floor = {ratio:.3f}; {out}", highlight=False, soft_wrap=True)
