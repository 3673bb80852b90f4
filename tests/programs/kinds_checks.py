"""What tests/kinds looks at on two ranks, as each rank saw it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kinds import harness
from kinds.table import Kind, kinds

RANK, WORLD = 0, 1


def on_ranks(folder: Path) -> dict[str, Any]:
    """Every kind that runs on ranks: what it was trained on and told of, and an error in place of that."""
    results: dict[str, Any] = {}
    for kind in kinds():
        if kind.ranks and all(find_spec(library) is not None for library in kind.needs):
            try:
                results[kind.name] = {**_listen(kind), "default": _train(kind)}
            except Exception as error:  # the next kind is another test's
                results[kind.name] = {"error": f"{type(error).__name__}: {error}"}
    return results


def _fit(kind: Kind, *selector: Any, **options: Any) -> harness.Fit:
    return harness.fit(kind, *selector, devices=WORLD, strategy="ddp_find_unused_parameters_true", **options)


def _listen(kind: Kind) -> dict[str, Any]:
    """With weights that stay as they are."""
    recorder = harness.Recorder()
    done = _fit(kind, recorder, frozen=True)
    epochs = list(done.watch.epochs.values())
    truth = done.watch.truth
    if kind.truth == "alone":
        truth = {i: harness.alone(done, i) for indices in epochs for i in indices}
    return {
        "epochs": epochs,
        "allowed": done.training.allowed,
        "strangers": done.watch.strangers,
        "usage": recorder.usage.tolist(),
        "told": sorted(recorder.of_samples(done.training).items()),
        "truth": sorted(truth.items()),
        "line": str(done.selection.listening),
    }


def _train(kind: Kind) -> list[list[int]]:
    """With the selector that a user gets, learning."""
    done = _fit(kind)
    assert done.learnt, "no weight moved"
    return list(done.watch.epochs.values())


CHECKS = {2: [on_ranks]}
