"""How much training with full data a result is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.isotonic import isotonic_regression

from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.stats import lower_is_better
from dynsel.compare.summary import Row
from dynsel.compare.table import of_allowed

__all__ = [
    "LENGTHS",
    "UNITS",
    "LengthCurve",
    "Worth",
    "Worths",
    "length_curve",
    "length_reaching",
    "monotone",
    "worth",
    "worths",
]

# Lengths of full data's trainings, in units of the configured one.
LENGTHS = (0.4, 0.55, 0.7, 0.85, 1.0, 1.4)
# What a comparison has equal, as what full data needs more or less of.
UNITS = {"steps": "optimiser steps", "samples": "samples", "seconds": "time"}
CONFIDENCE = 0.95
# Lengths that are tried for the interval, evenly over the logarithm: a step is a fifth of a percent or less.
TRIED = 1000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LengthCurve:
    """What full data reaches in trainings of several lengths, each with its own schedule to the end.

    Attributes:
        lengths: (L,) lengths in units of the configured training, ascending.
        values: (L,) values of the metric after the last step by seed, the same seeds for every length.
    """

    lengths: tuple[float, ...]
    values: tuple[Mapping[int, float], ...]

    def of(self, seeds: Sequence[int]) -> Array:
        """The values of some seeds at every length.

        Args:
            seeds: Seeds that were run at each length, n of them.

        Returns:
            (n, L) float64.

        Raises:
            KeyError: If a length lacks one of them.
        """
        return np.array([[at_length[seed] for at_length in self.values] for seed in seeds], dtype=np.float64)

    def means(self) -> Array:
        """(L,) means over the seeds."""
        return np.array([fmean(at_length.values()) for at_length in self.values], dtype=np.float64)


@dataclass(frozen=True)
class Worths:
    """What the results of a comparison are worth.

    Attributes:
        curve: What full data reaches.
        of: Worth of each selector but full data, where there is one.
        unit: Unit that worth is told in: "optimiser steps", "samples" or "time".
    """

    curve: LengthCurve
    of: Mapping[str, Worth]
    unit: str = "optimiser steps"

    def sentence(self, metric: str, names: Mapping[str, str]) -> str:
        """All of it in a sentence, the selector that is worth most first; empty if nothing is known.

        Args:
            metric: The metric in words.
            names: What the tables call each selector.
        """
        ranked = sorted(self.of, key=lambda name: -self.of[name].factor)
        said = [f"{names[name]} {self.of[name].text()}" for name in ranked]
        said[:1] = [f"{names[name]} is worth {self.of[name].text()}" for name in ranked[:1]]
        return f"{metric[:1].upper()}{metric[1:]} in {self.unit} of full data: {', '.join(said)}." if said else ""


@dataclass(frozen=True)
class Worth:
    """The length of full data's training that reaches a result, in units of what the result cost.

    Attributes:
        n: Number of seeds, at least 1.
        factor: Length of full data's training divided by the cost; infinite where no length reaches it, 0 where the
            shortest does more.
        low: Lower end of the 95 % interval, likewise; None for one seed.
        high: Upper end of the interval.
        shortest: The curve's shortest length divided by the cost; nothing is known of what lies below.
        longest: The curve's longest length divided by the cost.
        cost: Cost of the result, in units of full data's configured training.
        value: Mean of the metric over the seeds.
    """

    n: int
    factor: float
    low: float | None
    high: float | None
    shortest: float
    longest: float
    cost: float = 1.0
    value: float = math.nan

    def ends(self, less: str = "< ", more: str = "> ") -> list[str]:
        """The factor and both ends of its interval as text, as in ["1.40", "1.21", "> 1.40"]; one seed has no ends.

        Args:
            less: What stands before the shortest length, where full data does more in it.
            more: What stands before the longest length, where full data does less in it.
        """
        known = [self.factor] if self.low is None or self.high is None else [self.factor, self.low, self.high]
        return [
            f"{less}{self.shortest:.2f}"
            if factor == 0
            else f"{factor:.2f}"
            if math.isfinite(factor)
            else f"{more}{self.longest:.2f}"
            for factor in known
        ]

    def length(self) -> str:
        """The length of full data's training that reaches the result, in units of the configured one, as text."""
        if self.factor == 0:
            return f"< {self.shortest * self.cost:.2f}"
        long = math.isfinite(self.factor)
        return f"{self.factor * self.cost:.2f}" if long else f"> {self.longest * self.cost:.2f}"

    def text(self) -> str:
        """As in "1.40 × (1.21 to 1.62)", "1.40 × (1.21 to more than 1.40)" or "more than 1.40 ×"."""
        factor, *interval = self.ends("less than ", "more than ")
        if not interval or {factor} == set(interval):
            return f"{factor} ×"
        return f"{factor} × ({' to '.join(interval)})"


def monotone(values: Array) -> Array:
    """The nearest sequence, by least squares, that never falls.

    Args:
        values: (L,) values in the order of the lengths.

    Returns:
        (L,) values that never fall.

    Reference: Barlow, Bartholomew, Bremner and Brunk (1972), Statistical inference under order restrictions.
    """
    return np.asarray(isotonic_regression(values), dtype=np.float64)


def length_reaching(value: float, lengths: Sequence[float], fitted: Array) -> float:
    """The shortest length at which a curve that never falls reaches a value.

    Between its points the curve is straight over the logarithm of the length: with so few points nothing is known of
    a bend, and any smoother curve (PCHIP) would have one made up, with other lengths at the same points.

    Args:
        value: Value to reach.
        lengths: (L,) lengths above 0, ascending.
        fitted: (L,) values of the curve, never falling.

    Returns:
        The length; 0 where the curve begins above the value, infinity where it ends below.

    Example:
        >>> round(length_reaching(0.5, [1.0, 4.0], np.array([0.4, 0.6])), 6)
        2.0
    """
    after = int(np.searchsorted(fitted, value, side="left"))
    if after == len(fitted):
        return math.inf
    if after == 0:
        return lengths[0] if value == fitted[0] else 0.0
    share = (value - fitted[after - 1]) / (fitted[after] - fitted[after - 1])
    low, high = math.log(lengths[after - 1]), math.log(lengths[after])
    return math.exp(low + share * (high - low))


def worth(curve: LengthCurve, values: Mapping[int, float], *, cost: float = 1.0, lower: bool = False) -> Worth | None:
    """How long full data must train to reach what a selector reached.

    The curve is the monotone fit to the means over the seeds. The interval has every length at which the paired t-test
    over the seeds that curve and selector have in common shows no difference (p > 0.05), each seed's own curve being
    straight between its points.

    Args:
        curve: What full data reaches.
        values: The selector's values by seed.
        cost: What each of them cost, in units of full data's configured training.
        lower: Whether lower values are better.

    Returns:
        None without a seed in common, or where the value of one isn't finite.

    Reference:
        Fieller (1954), Some problems in interval estimation, JRSS B 16: an interval by the test that it inverts.
    """
    seeds = [s for s in values if all(s in known for known in curve.values)]
    sign = -1.0 if lower else 1.0
    full, own = sign * curve.of(seeds), sign * np.array([values[s] for s in seeds])
    if not seeds or not (np.isfinite(full).all() and np.isfinite(own).all()):
        return None
    length = length_reaching(float(own.mean()), curve.lengths, monotone(full.mean(axis=0)))
    ends = _interval(full, own, curve.lengths, length) if len(seeds) > 1 else None
    low, high = (None, None) if ends is None else (ends[0] / cost, ends[1] / cost)
    limits = curve.lengths[0] / cost, curve.lengths[-1] / cost
    return Worth(len(seeds), length / cost, low, high, *limits, cost, float(sign * own.mean()))


def _interval(full: Array, own: Array, lengths: Sequence[float], length: float) -> tuple[float, float]:
    """From the shortest to the longest length that a paired t-test doesn't tell from the result.

    Args:
        full: (n, L) values of the curve, n at least 2, higher ones being better.
        own: (n,) values of the selector.
        lengths: (L,) lengths above 0, ascending.
        length: The length that reaches the result, which the interval holds.

    Returns:
        Both ends; 0 and infinity where nothing is known beyond the curve's ends.
    """
    logs = np.log(lengths)
    tried = np.union1d(np.linspace(logs[0], logs[-1], TRIED), logs)
    ahead = own[:, None] - np.stack([np.interp(tried, logs, row) for row in full])
    error = ahead.std(axis=0, ddof=1) / math.sqrt(len(own))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(own) - 1)) * error
    alike = np.flatnonzero(np.abs(ahead.mean(axis=0)) <= reach)
    if not len(alike):
        return length, length
    low = 0.0 if alike[0] == 0 else math.exp(tried[alike[0]])
    high = math.inf if alike[-1] == len(tried) - 1 else math.exp(tried[alike[-1]])
    return min(low, length), max(high, length)


def length_curve(records: Sequence[RunRecord], steps: int) -> LengthCurve:
    """The curve of full data's runs.

    Args:
        records: Runs of full data of several lengths; a seed that failed at one of them is left out.
        steps: Optimiser steps of the configured training.
    """
    done: dict[int, dict[int, float]] = {}
    for run in records:
        if run.error is None:
            done.setdefault(run.steps, {})[run.seed] = run.value
    seeds = [seed for seed in dict.fromkeys(run.seed for run in records) if all(seed in d for d in done.values())]
    lengths = sorted(done)
    values = tuple({seed: done[length][seed] for seed in seeds} for length in lengths)
    return LengthCurve(tuple(length / steps for length in lengths), values)


def worths(
    rows: Sequence[Row], records: Sequence[RunRecord], full: Sequence[RunRecord], steps: int, equal: str, metric: str
) -> Worths:
    """The worth of each selector but full data, where there is one.

    Args:
        rows: One for each selector, as `summarise` gives them.
        records: Runs of the comparison, failed ones among them.
        full: Runs of full data of several lengths, that of the configured training among them.
        steps: Optimiser steps of the configured training.
        equal: What is equal for all selectors: "steps", "samples" or "seconds".
        metric: Name of the metric; `lower_is_better` tells by it which way is better.
    """
    curve = length_curve(full, steps)
    whole = [run.samples for run in full if run.error is None and run.steps == steps]
    values = {
        name: {run.seed: run.value for run in runs if run.error is None} for name, runs in by_selector(records).items()
    }
    found = {}
    for row in rows:
        if row.selector == "full" or not row.n or not curve.lengths or not whole:
            continue
        cost = _cost(row, steps, fmean(whole), equal)
        known = worth(curve, values[row.selector], cost=cost, lower=lower_is_better(metric))
        if known is not None:
            found[row.selector] = known
    return Worths(curve, found, UNITS[equal])


def _cost(row: Row, steps: int, samples: float, equal: str) -> float:
    """Of a selector's mean run, in units of full data's configured training."""
    if equal == "seconds":
        return of_allowed(row, steps)
    return (row.samples or 0.0) / samples if equal == "samples" else (row.steps or 0) / steps
