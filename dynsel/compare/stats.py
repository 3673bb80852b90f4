"""What seeds can tell: confidence intervals, paired t-tests, Holm's correction, the speed to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from dynsel.compare.record import CurvePoint

__all__ = [
    "ALPHA",
    "Difference",
    "differences",
    "half_width",
    "holm",
    "lower_is_better",
    "paired",
    "reached",
    "spread",
    "verdict",
]

ALPHA = 0.05
# Metrics come in float32: values that are equal in truth may differ by this much, relative to their size.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Difference:
    """One method minus another over the seeds that both finished.

    Attributes:
        n: Such seeds.
        mean: Of the differences.
        std: Their sample standard deviation, None for n < 2.
        ci95: Half width of the 95 % confidence interval of their mean; None where there is no test.
        p: Two-sided p-value of the paired t-test; None for n < 2, and for differences that are equal but not 0 or not
            finite, where the test isn't defined.
        p_holm: The same, corrected for the number of methods compared to one baseline.
    """

    n: int
    mean: float
    std: float | None = None
    ci95: float | None = None
    p: float | None = None
    p_holm: float | None = None


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, None for fewer than two values, NaN if one isn't finite (a run that diverged)."""
    if len(values) < 2:
        return None
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % confidence interval of the mean (Student's t), None for fewer than two values."""
    std, n = spread(values), len(values)
    return None if std is None else _t_quantile(n - 1) * std / math.sqrt(n)


def paired(own: Sequence[float], base: Sequence[float]) -> Difference:
    """The mean difference of pairs, its interval and its paired t-test.

    Args:
        own: (n,) values of a method, n ≥ 1.
        base: (n,) values of the baseline with the same seeds.
    """
    found = [a - b for a, b in zip(own, base, strict=True)]
    result = Difference(len(found), fmean(found), spread(found))
    if result.std is None or not math.isfinite(result.std):
        return result
    if not any(found):
        return replace(result, ci95=0.0, p=1.0)
    if max(found) - min(found) <= ROUNDING * max(map(abs, (*own, *base))):
        # No spread, p = 0: with few seeds and a coarse metric that is chance (each better by one image), not certainty.
        return result
    t = result.mean / (result.std / math.sqrt(result.n))
    return replace(result, ci95=half_width(found), p=_p_value(t, result.n - 1))


def differences(values: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Difference]:
    """Every other method against a baseline, p-values corrected for their number.

    Args:
        values: Of each method, by seed.
        baseline: Its name.

    Returns:
        By method; without those that have no seed in common with the baseline.
    """
    base = values.get(baseline, {})
    found = {}
    for name, own in values.items():
        seeds = [seed for seed in own if seed in base]
        if name != baseline and seeds:
            found[name] = paired([own[s] for s in seeds], [base[s] for s in seeds])
    tested = {name: difference.p for name, difference in found.items() if difference.p is not None}
    for name, p in zip(tested, holm(list(tested.values())), strict=True):
        found[name] = replace(found[name], p_holm=p)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false finding among all of them.

    Args:
        p_values: (m,) in [0, 1].

    Returns:
        (m,) in [0, 1], in the same order, none below what was given.

    Reference: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    adjusted, largest, m = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def verdict(difference: Difference, *, lower: bool = False) -> str:
    """What a difference shows: "better", "worse" or "same", "n = 1" for a single pair, "–" without a test.

    The corrected p-value decides. It is never below the plain one, hence the interval of the difference excludes 0
    wherever the verdict is "better" or "worse".

    Args:
        difference: With its `p_holm`.
        lower: Whether lower values are better.
    """
    if difference.n == 1:
        return "n = 1"
    if difference.p_holm is None:
        return "–"
    if difference.p_holm >= ALPHA:
        return "same"
    return "better" if (difference.mean < 0) == lower else "worse"


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a loss, by its name."""
    return "loss" in metric.lower()


def reached(curve: Sequence[CurvePoint], target: float, *, lower: bool = False) -> CurvePoint | None:
    """The first evaluation that reaches a target and after which no one loses it again, or None.

    Args:
        curve: Evaluations of a run in their order.
        target: Value to reach, up to the rounding of float32: 0.76 is then 0.75999999.
        lower: Whether lower values are better.
    """
    first, slack = None, ROUNDING * abs(target)
    for point in reversed(curve):
        if not (point.value <= target + slack if lower else point.value >= target - slack):
            break
        first = point
    return first


def _t_quantile(df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - ALPHA / 2))


def _p_value(t: float, df: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))
