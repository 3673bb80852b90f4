"""What one run of a comparison was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ORIGIN", "CurvePoint", "RunRecord", "by_selector", "distinct_origins"]

# What a run says of its origin.
ORIGIN = ("command", "hardware", "versions", "date", "commit")


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation in the course of a run.

    Attributes:
        step: Number of optimiser steps done.
        samples: Samples trained on so far, with repetition.
        seconds: Training time so far, selection included, validation not.
        value: Value of the metric there.
    """

    step: int
    samples: int
    seconds: float
    value: float


@dataclass(frozen=True)
class RunRecord:
    """One selector trained with one seed.

    Attributes:
        selector: Name of the selector as it was given.
        seed: Seed of weights, order and selection.
        value: Value of the metric after the last step.
        loss: Validation loss after the last step, if one is logged as `val_loss`.
        samples: Samples trained on, with repetition.
        steps: Number of optimiser steps.
        seconds: Training time, selection included, validation not.
        selection_seconds: The part of it that choosing took.
        fit_seconds: The part of that which making features and fitting the selector to them took.
        data_seconds: The part of `seconds` for which training waited for the loader.
        evaluation_seconds: Validation time, no part of `seconds`; None in runs of older versions, which had no clock.
        curve: Evaluations in the course of training, the last one after the last step.
        class_balance: Class balance of each epoch's selection, in [0, 1]; empty without labels.
        usage: (N,) how often each sample was trained on.
        samples_scored: Samples passed forward through a network only to choose among them.
        flops: Floating-point operations of networks, None if they couldn't be counted.
        selection_flops: The part of them that choosing took.
        wrong_share: Share of wrong labels among what was trained on, where they are known; None where not.
        gpu_joules: Energy of the GPU in `seconds`, in joules; None where it wasn't measured.
        cpu_joules: Energy of all CPU packages in `seconds`, in joules; None where it wasn't measured.
        logged: Every number that validation logged after the last step, by its name.
        origin: What was run on what: command, hardware, versions, date and commit, each as text; empty in runs of
            older versions.
        made_by: The selector's arguments, defaults included, and a checksum of each file that they name; empty in runs
            of older versions.
        error: Message of a run that failed, in one line; its numbers then mean nothing. None of a finished run.
    """

    selector: str
    seed: int
    value: float = float("nan")
    loss: float | None = None
    samples: int = 0
    steps: int = 0
    seconds: float = 0.0
    selection_seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    class_balance: list[float] = field(default_factory=list)
    usage: list[int] = field(default_factory=list)
    samples_scored: int = 0
    flops: float | None = None
    selection_flops: float | None = None
    wrong_share: float | None = None
    fit_seconds: float = 0.0
    data_seconds: float = 0.0
    evaluation_seconds: float | None = None
    gpu_joules: float | None = None
    cpu_joules: float | None = None
    logged: dict[str, float] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def by_selector(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs of each selector, in the order in which the selectors come up.

    Args:
        records: Runs of any selectors and seeds.
    """
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.selector, []).append(record)
    return found


def distinct_origins(origins: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """For each of `ORIGIN` the different values, in the order in which they come up; dates ascending.

    Args:
        origins: Origins of runs; one may lack any of them.
    """
    known = list(origins)
    found = {key: list(dict.fromkeys(origin[key] for origin in known if key in origin)) for key in ORIGIN}
    return found | {"date": sorted(found["date"])}
