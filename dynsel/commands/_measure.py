"""`dynsel distill measure`: the neural characteristic function discrepancy of any selection."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel._lib.console import open_console, say, value_table
from dynsel._lib.files import write_atomically
from dynsel._lib.provenance import command_line
from dynsel.commands._arguments import CommandParser

if TYPE_CHECKING:
    from torch import Tensor

    from dynsel.cfd import NeuralCFD

__all__ = ["measure"]


def measure(args: list[str]) -> int:
    """Run `dynsel distill measure`.

    Args:
        args: Options of the command: those of `_measure` and `neural_cfd`.

    Returns:
        Exit code: 0.
    """
    from dynsel.cfd import neural_cfd

    parser = CommandParser("dynsel distill measure")
    parser.add_signature(_measure, "args", "settings")
    names = parser.add_signature(neural_cfd, "features", "weights", "labels")
    options = vars(parser.parse_args(args))
    settings = {name: options.pop(name) for name in names}
    _measure(**options, settings=settings, args=args)
    return 0


def _measure(
    features: str,
    selection: Path,
    labels: str | None = None,
    out: Path | None = None,
    *,
    settings: dict[str, Any],
    args: list[str],
) -> None:
    """Report how far a selection is from the whole set, at frequencies learned on half of the samples.

    Args:
        features: (N, d) array: feature store, .npy, or .npz:KEY.
        selection: Manifest of `dynsel select`, or a JSON list of indices.
        labels: (N,) labels, .npy or .npz:KEY: report every class as well.
        out: JSON file that the report is written to.
        settings: Further arguments of `neural_cfd`.
        args: The command line, to be written down.

    Raises:
        FileNotFoundError: If the features, the labels or the selection aren't there.
        ValueError: If the selection isn't one of these features, or an option is out of range.
    """
    from dynsel._lib.outputs import check_output
    from dynsel.cfd import neural_cfd
    from dynsel.features.arrays import load_features
    from dynsel.features.label_files import load_labels

    if out is not None:
        check_output("--out", out)
    rows = load_features(features)
    weights = _selection(selection, len(rows))
    codes, classes = (None, []) if labels is None else load_labels(labels, len(rows))
    start = time.perf_counter()
    whole, by_class = neural_cfd(rows, weights, codes, **settings)
    seconds = time.perf_counter() - start
    _print(whole, by_class, classes, seconds)
    if out is not None:
        report: dict[str, Any] = {
            "command": command_line(["distill", "measure", *args]),
            "whole": _plain(whole),
            "classes": {str(c): found and _plain(found) for c, found in zip(classes, by_class, strict=True)},
            "seconds": round(seconds, 3),
        }
        write_atomically(out, json.dumps(report, indent=1, allow_nan=False) + "\n")


def _plain(found: NeuralCFD) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(found).items()}


def _selection(path: Path, count: int) -> Tensor:
    """(N,) float64, 1 for the chosen samples, else 0."""
    import torch

    from dynsel._lib.selection_files import read_indices

    return torch.bincount(read_indices("--selection", path, count), minlength=count).double()


def _print(whole: NeuralCFD, by_class: list[NeuralCFD | None], classes: list[Any], seconds: float) -> None:
    rows = []
    for name, found in [("all", whole), *((str(c), f) for c, f in zip(classes, by_class, strict=True))]:
        if found is None:
            rows.append((name, *["–"] * 5))
            continue
        parts = [f"{v:.2e}" for v in (found.distance, found.amplitude, found.phase)]
        size = f"{name} ({found.size:.0f} of {found.of})"
        rows.append((size, *parts, f"{found.ratio:.2f}", f"{found.z_score:+.1f}"))
    console = open_console()
    console.print(value_table(("held out", "distance", "amplitude", "phase", "× random", "z"), rows))
    say(console, f"frequencies learned on the other half, {seconds:.1f} s")
