"""What seeds can tell: confidence intervals, paired t-tests, Holm's correction, the speed to a target."""

from __future__ import annotations

import math
import re
import warnings
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
# Words of a metric's name that tell a distance from what is right.
_DISTANCE = re.compile(
    "bce|bpd|brier|ce|cer|crps|deviance|deviation|distance|divergence|ece|.*entropy|err|errors?|fid|hinge"
    "|kid|kl|kld|lpips|mae|mape|mse|msle|negative|nll|perplexity|ppl|regret|rmse|rmsle|smape|wer"
)
_LOSS = re.compile(".*loss(es)?")
# Words that win over a distance, but not over a loss.
_RIGHTNESS = re.compile("acc.*|correlation|predictive|precision|recall")
# Metrics come in float32: values that are equal in truth may differ by this much, relative to their size.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Difference:
    """One method minus another over the seeds that both finished.

    Attributes:
        n: Number of these seeds.
        mean: Mean of the differences.
        std: Sample standard deviation of the differences; None for n < 2.
        ci95: Half width of the 95 % confidence interval of the mean difference; None where there is no test.
        p: Two-sided p-value of the paired t-test; None for n < 2, and for differences that are equal but not 0 or not
            finite, where the test isn't defined.
        p_holm: The p-value after Holm's correction for the number of methods compared to the same baseline.
    """

    n: int
    mean: float
    std: float | None = None
    ci95: float | None = None
    p: float | None = None
    p_holm: float | None = None


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation.

    Args:
        values: (n,) values of one method.

    Returns:
        None for fewer than two values, NaN if one of them isn't finite, as of a run that diverged.
    """
    if len(values) < 2:
        return None
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % confidence interval of the mean, by Student's t.

    Args:
        values: (n,) values of one method.

    Returns:
        None for fewer than two values, NaN if one of them isn't finite.
    """
    std = spread(values)
    if not std or math.isnan(std):
        return std
    return _paired_t_test(values, [0.0] * len(values))[0]


def paired(own: Sequence[float], base: Sequence[float]) -> Difference:
    """The mean difference of pairs, its confidence interval and its paired t-test.

    Args:
        own: (n,) values of a method, n ≥ 1.
        base: (n,) values of the baseline with the same seeds.
    """
    found = [a - b for a, b in zip(own, base, strict=True)]
    # `fmean` refuses infinities of either sign, as of losses that overflowed.
    mean = fmean(found) if all(map(math.isfinite, found)) else sum(found) / len(found)
    result = Difference(len(found), mean, spread(found))
    if result.std is None or not math.isfinite(result.std):
        return result
    if not any(found):
        return replace(result, ci95=0.0, p=1.0)
    if max(found) - min(found) <= ROUNDING * max(map(abs, (*own, *base))):
        # No spread, p = 0: with few seeds and a coarse metric that is chance (each better by one image), not certainty.
        return result
    ci95, p = _paired_t_test(own, base)
    return replace(result, ci95=ci95, p=p)


def _paired_t_test(own: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Half the confidence interval of the mean difference, and the two-sided p-value."""
    from scipy.stats import ttest_rel  # most of a second, which the command's help shouldn't take

    with warnings.catch_warnings():
        # It warns of values that are nearly alike, as those of seeds may be.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        test = ttest_rel(own, base)
    low, high = test.confidence_interval(1 - ALPHA)
    return float(high - low) / 2, float(test.pvalue)


def differences(values: Mapping[str, Mapping[int, float]], baseline: str | Mapping[str, str]) -> dict[str, Difference]:
    """Every other method against its baseline, with p-values corrected for the number of methods.

    Args:
        values: For each method its values by seed.
        baseline: Name of the method that the others are compared to, or that name for each method that has one.

    Returns:
        A difference for each method that has a seed in common with the baseline.
    """
    of = dict.fromkeys(values, baseline) if isinstance(baseline, str) else baseline
    found = {}
    for name, own in values.items():
        base = values.get(of.get(name, name), {})
        seeds = [seed for seed in own if seed in base]
        if name != of.get(name, name) and seeds:
            found[name] = paired([own[s] for s in seeds], [base[s] for s in seeds])
    tested = {name: difference.p for name, difference in found.items() if difference.p is not None}
    for name, p in zip(tested, holm(list(tested.values())), strict=True):
        found[name] = replace(found[name], p_holm=p)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false finding among all of them.

    Args:
        p_values: (m,) p-values in [0, 1].

    Returns:
        (m,) adjusted p-values in [0, 1] in the same order, none below the one that was given.

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
        difference: Difference to the baseline, with its `p_holm`.
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
    """Whether a metric is a loss or an error, judged by the words of its name.

    Args:
        metric: Name of the metric, as in "val_loss", "val/mse" or "ValMeanSquaredError".

    Example:
        >>> [lower_is_better(name) for name in ("val_loss", "val/mse", "valRMSE", "val_accuracy", "lossless_accuracy")]
        [True, True, True, False, False]
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", metric)
    kinds = (_LOSS, _DISTANCE, _RIGHTNESS)
    loss, distance, rightness = (any(kind.fullmatch(word.lower()) for word in words) for kind in kinds)
    return loss or (distance and not rightness)


def reached(curve: Sequence[CurvePoint], target: float, *, lower: bool = False) -> CurvePoint | None:
    """The first evaluation that reaches a target and after which no one loses it again, or None.

    Args:
        curve: Evaluations of a run in their order.
        target: Value to reach, up to the rounding of float32: 0.75999999 reaches 0.76.
        lower: Whether lower values are better.
    """
    first, slack = None, ROUNDING * abs(target)
    for point in reversed(curve):
        if not (point.value <= target + slack if lower else point.value >= target - slack):
            break
        first = point
    return first
