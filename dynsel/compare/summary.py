"""One row per selector, from all runs of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING

from dynsel.compare.entry import DEFAULTS, Configured, baselines_of
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.stats import Difference, differences, half_width, lower_is_better, reached, spread, verdict

if TYPE_CHECKING:
    from dynsel.compare.worth import Worth

__all__ = ["BASELINES", "Row", "Speed", "summarise"]

# What the others are compared to; the verdict is on the first.
BASELINES = ("random", "full")


@dataclass(frozen=True)
class Speed:
    """How soon a selector reaches a target and holds it to the end of the run, at evaluated points only.

    Attributes:
        target: Value of the metric to reach.
        reached: Number of seeds that reached and held it.
        samples: Median of the samples trained on until then, over the finished seeds; a seed that never reached it
            counts as infinite, so that the median is infinite if no more than half of the seeds did.
        steps: Median of the optimiser steps until then, likewise.
        seconds: Median of the training time until then, likewise.
    """

    target: float
    reached: int
    samples: float
    steps: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One selector over its seeds.

    Attributes:
        selector: Name of the selector.
        n: Number of seeds that finished.
        mean: Mean of the metric after the last step; None for n = 0.
        std: Sample standard deviation of the metric, None for n < 2.
        ci95: Half width of the 95 % confidence interval of the mean, None for n < 2.
        versus: Paired difference to each of `BASELINES`, where there is one.
        verdict: What the difference to `random` shows: "better", "worse", "same", "n = 1" or "–"; empty without one.
        samples: Mean of the samples trained on.
        steps: Number of optimiser steps.
        seconds: Mean training time, selection included, validation not.
        selection_seconds: Mean of the part of it that choosing took.
        fit_seconds: Mean of the part of that which making features and fitting the selector to them took.
        data_seconds: Mean of the part of `seconds` for which training waited for the loader.
        evaluation_seconds: Mean validation time, no part of `seconds`; None if a seed's wasn't measured.
        samples_scored: Mean of the samples passed forward through a network only to choose among them.
        flops: Mean of the floating-point operations of networks, None if a seed's weren't counted.
        selection_flops: Mean of the part of them that choosing took.
        wrong_share: Mean share of wrong labels among what was trained on; None where they aren't known.
        gpu_joules: Mean energy of the GPU, None if a seed's wasn't measured.
        cpu_joules: Mean energy of all CPU packages, None if a seed's wasn't measured.
        speed: How soon the target was reached, if one was given.
        worth: How much of full data's training the result is worth, if that was asked for.
        errors: Messages of the seeds that failed.
    """

    selector: str
    n: int
    mean: float | None = None
    std: float | None = None
    ci95: float | None = None
    versus: Mapping[str, Difference] = field(default_factory=dict)
    verdict: str = ""
    samples: float | None = None
    steps: int | None = None
    seconds: float | None = None
    selection_seconds: float | None = None
    fit_seconds: float | None = None
    data_seconds: float | None = None
    evaluation_seconds: float | None = None
    samples_scored: float | None = None
    flops: float | None = None
    selection_flops: float | None = None
    wrong_share: float | None = None
    gpu_joules: float | None = None
    cpu_joules: float | None = None
    speed: Speed | None = None
    worth: Worth | None = None
    errors: tuple[str, ...] = ()


def summarise(
    records: Sequence[RunRecord],
    *,
    metric: str = "val_accuracy",
    target: float | None = None,
    configured: Configured = DEFAULTS,
) -> list[Row]:
    """One row for each selector, in the order in which they come up.

    Args:
        records: Runs of all selectors and seeds, failed ones among them.
        metric: Name of the metric of the runs' values; `lower_is_better` tells by it which way is better.
        target: Value of the metric for the speed to reach it; None leaves that out.
        configured: How the configuration trains selectors that say nothing of it.
    """
    runs = by_selector(records)
    # Same seed, same weights and order: the difference of a pair is less noisy than that of the means.
    values = {name: {r.seed: r.value for r in group if r.error is None} for name, group in runs.items()}
    against = {name: differences(values, baselines_of(list(values), name, configured)) for name in BASELINES}
    lower = lower_is_better(metric)
    return [
        _row(name, group, {b: found[name] for b, found in against.items() if name in found}, lower, target)
        for name, group in runs.items()
    ]


def _row(name: str, records: list[RunRecord], versus: dict[str, Difference], lower: bool, target: float | None) -> Row:
    done = [r for r in records if r.error is None]
    errors = tuple(f"seed {r.seed}: {r.error}" for r in records if r.error is not None)
    if not done:
        return Row(name, 0, errors=errors)
    values = [r.value for r in done]
    first = versus.get(BASELINES[0])
    return Row(
        selector=name,
        n=len(done),
        mean=fmean(values),
        std=spread(values),
        ci95=half_width(values),
        versus=versus,
        verdict="" if first is None else verdict(first, lower=lower),
        samples=fmean(r.samples for r in done),
        steps=done[0].steps,
        seconds=fmean(r.seconds for r in done),
        selection_seconds=fmean(r.selection_seconds for r in done),
        fit_seconds=fmean(r.fit_seconds for r in done),
        data_seconds=fmean(r.data_seconds for r in done),
        evaluation_seconds=_mean([r.evaluation_seconds for r in done]),
        samples_scored=fmean(r.samples_scored for r in done),
        flops=_mean([r.flops for r in done]),
        selection_flops=_mean([r.selection_flops for r in done]),
        wrong_share=_mean([r.wrong_share for r in done]),
        gpu_joules=_mean([r.gpu_joules for r in done]),
        cpu_joules=_mean([r.cpu_joules for r in done]),
        speed=None if target is None else _speed(done, target, lower),
        errors=errors,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _speed(done: Sequence[RunRecord], target: float, lower: bool) -> Speed:
    # The median of those alone that got there would flatter a selector that seldom does.
    points = [reached(r.curve, target, lower=lower) for r in done]

    def middle(name: str) -> float:
        return float(median(math.inf if point is None else getattr(point, name) for point in points))

    count = sum(point is not None for point in points)
    return Speed(target, count, middle("samples"), middle("step"), middle("seconds"))
