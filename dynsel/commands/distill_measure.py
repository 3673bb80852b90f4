"""`dynsel distill measure`: the neural characteristic function discrepancy of any selection."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dynsel._lib.files import write_atomically
from dynsel.cfd import NeuralCFD, neural_cfd
from dynsel.commands._arguments import Parser
from dynsel.features.arrays import load_features
from dynsel.features.label_files import load_labels

__all__ = ["measure"]


def measure(args: list[str]) -> int:
    """Report how far a selection is from the whole set, at frequencies learned on half of the samples.

    Args:
        args: Options.

    Returns:
        Exit code: 0.
    """
    description = "Report how far a selection is from the whole set, at frequencies learned on half of the samples."
    parser = Parser("dynsel distill measure", description, "")
    parser.add_argument(
        "--features", required=True, metavar="FILE[:KEY]", help="(N, d) array: .npy, or .npz with a key"
    )
    parser.add_argument("--selection", type=Path, required=True, metavar="FILE", help="manifest of `dynsel select`")
    parser.add_argument("--labels", metavar="FILE[:KEY]", help="(N,) labels: report every class as well")
    parser.add_argument(
        "--mode", choices=("scale-mixture", "normal"), default="scale-mixture", help="of the frequencies"
    )
    parser.add_argument("--steps", type=int, default=50, help="steps of the frequency network (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of halves, network and random subsets (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    options = parser.parse_args(args)
    features = load_features(options.features)
    weights = _selection(options.selection, len(features))
    labels, classes = (None, []) if options.labels is None else load_labels(options.labels, len(features))
    start = time.perf_counter()
    whole, by_class = neural_cfd(features, weights, labels, mode=options.mode, steps=options.steps, seed=options.seed)
    seconds = time.perf_counter() - start
    _print(whole, by_class, classes, seconds)
    if options.out is not None:
        report: dict[str, Any] = {
            "command": shlex.join(["dynsel", "distill", "measure", *args]),
            "whole": _plain(whole),
            "classes": {str(c): found and _plain(found) for c, found in zip(classes, by_class, strict=True)},
            "seconds": round(seconds, 3),
        }
        write_atomically(options.out, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return 0


def _plain(found: NeuralCFD) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(found).items()}


def _selection(path: Path, count: int) -> torch.Tensor:
    """(N,) 1 for the chosen samples, else 0."""
    try:
        manifest = json.loads(path.read_text())
        indices = torch.tensor(manifest["indices"] if isinstance(manifest, dict) else manifest, dtype=torch.int64)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"`--selection` must be JSON with a list of `indices`, got {path}: {error}") from error
    if len(indices) == 0 or not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise ValueError(f"`--selection` must hold indices in [0, {count}), the rows of the features, got {path}")
    return torch.bincount(indices, minlength=count).double()


def _print(whole: NeuralCFD, by_class: list[NeuralCFD | None], classes: list[Any], seconds: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for i, heading in enumerate(("held out", "distance", "amplitude", "phase", "× random", "z")):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for name, found in [("all", whole), *((str(c), f) for c, f in zip(classes, by_class, strict=True))]:
        if found is None:
            table.add_row(name, *["–"] * 5)
            continue
        parts = [f"{v:.2e}" for v in (found.distance, found.amplitude, found.phase)]
        table.add_row(f"{name} ({found.size:.0f} of {found.of})", *parts, f"{found.ratio:.2f}", f"{found.z_score:+.1f}")
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(f"frequencies learned on the other half, {seconds:.1f} s", highlight=False)
