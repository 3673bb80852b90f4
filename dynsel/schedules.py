"""Numbers that change over training, as functions of progress.

Progress is the share of training done when an epoch starts: 0 at the first epoch, (E - 1) / E at the last of E.
"""

from __future__ import annotations

import bisect
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence

from dynsel._lib.checks import check_integer, check_number, check_numbers
from dynsel._lib.reprs import call_text, differing_arguments

__all__ = [
    "Constant",
    "Cosine",
    "Linear",
    "Oscillating",
    "Schedule",
    "Sigmoid",
    "Step",
    "as_keep_ratio",
    "check_schedule",
    "sample_count",
]


class Schedule(ABC):
    """A number as a function of progress in [0, 1]."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The value at `progress`."""

    def __repr__(self) -> str:
        return call_text(type(self).__name__, differing_arguments(self))


class Constant(Schedule):
    """The same value throughout.

    Args:
        value: The value, a finite number.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not finite.
    """

    def __init__(self, value: float) -> None:
        self.value = check_number("value", value)

    def __call__(self, progress: float) -> float:
        return self.value


class _Ramp(Schedule):
    """From `start` to `end` between the progress values `begin` and `finish`, flat outside.

    Args:
        start: Value up to the progress `begin`.
        end: Value from the progress `finish` on.
        begin: Progress at which the change begins.
        finish: Progress at which it is complete.

    Raises:
        TypeError: If one is no number.
        ValueError: Unless all are finite and 0 <= begin < finish <= 1.
    """

    def __init__(self, start: float, end: float, begin: float = 0.0, finish: float = 1.0) -> None:
        self.start, self.end = check_number("start", start), check_number("end", end)
        self.begin, self.finish = check_number("begin", begin), check_number("finish", finish)
        if not 0 <= self.begin < self.finish <= 1:
            raise ValueError(f"`begin` and `finish` must satisfy 0 <= begin < finish <= 1, got {begin} and {finish}")

    def __call__(self, progress: float) -> float:
        done = min(1.0, max(0.0, (progress - self.begin) / (self.finish - self.begin)))
        return self.start + (self.end - self.start) * self._shape(done)

    @abstractmethod
    def _shape(self, done: float) -> float:
        """The share of the way that is behind when the share `done` of the time is."""


class Linear(_Ramp):
    """A straight line from `start` to `end`.

    Example:
        >>> Linear(1.0, 0.5)(0.5)
        0.75
    """

    def _shape(self, done: float) -> float:
        return done


class Cosine(_Ramp):
    """Half a cosine wave from `start` to `end`: slow, fast, slow.

    Reference:
        Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, arXiv:1608.03983, eq. 5.

    Example:
        >>> round(Cosine(0.0, 1.0)(0.25), 4)
        0.1464
    """

    def _shape(self, done: float) -> float:
        return 0.5 * (1.0 - math.cos(math.pi * done))


class Sigmoid(_Ramp):
    """A logistic curve from `start` to `end`, scaled to reach both exactly, of steepness 10."""

    def _shape(self, done: float) -> float:
        low, high = _logistic(-5.0), _logistic(5.0)
        return (_logistic(10.0 * done - 5.0) - low) / (high - low)


class Step(Schedule):
    """Piecewise constant: `values[i]` from `milestones[i - 1]` up to `milestones[i]`.

    Args:
        values: The values in turn, one more than there are milestones.
        milestones: Progress values in (0, 1), ascending.

    Raises:
        TypeError: If they are no lists of numbers.
        ValueError: If the lengths don't fit, a value isn't finite, or the milestones don't ascend within (0, 1).

    Example:
        >>> schedule = Step([1.0, 0.5, 0.3], milestones=[0.25, 0.75])
        >>> [schedule(p) for p in (0.0, 0.25, 0.9)]
        [1.0, 0.5, 0.3]
    """

    def __init__(self, values: Sequence[float], milestones: Sequence[float]) -> None:
        self.values = check_numbers("values", values)
        self.milestones = check_numbers("milestones", milestones)
        if len(self.values) != len(self.milestones) + 1:
            raise ValueError(
                f"`values` must have one entry more than `milestones`, got {len(values)} and {len(milestones)}"
            )
        if self.milestones != sorted(set(self.milestones)) or not all(0 < m < 1 for m in self.milestones):
            raise ValueError(f"`milestones` must ascend within (0, 1), got {self.milestones}")

    def __call__(self, progress: float) -> float:
        return self.values[bisect.bisect_right(self.milestones, progress)]


class Oscillating(Schedule):
    """In turn below and above a mean, by as much and for as long, so that a keep ratio's budget stays the same.

    Published (PODS): the keep ratio swings between low and high around its target at the same budget. Ours, where the
    summary at hand is silent: a square wave that begins low. The mean over the epochs is exact if each of the
    `2 * cycles` halves has as many of them.

    Args:
        mean: What it swings about, finite; of a keep ratio in (0, 1], as all it swings to, which the keep ratio checks.
        swing: How far it swings to each side, at least 0.
        cycles: Times low and high in the whole of training, at least 1.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        PODS (2026), arXiv:2605.14773. From a summary of the paper, which was not at hand itself.

    Example:
        >>> schedule = Oscillating(0.3, swing=0.1, cycles=2)
        >>> [round(schedule(epoch / 8), 1) for epoch in range(8)]
        [0.2, 0.2, 0.4, 0.4, 0.2, 0.2, 0.4, 0.4]
    """

    def __init__(self, mean: float, swing: float, cycles: int) -> None:
        self.mean = check_number("mean", mean)
        self.swing = check_number("swing", swing, at_least=0)
        self.cycles = check_integer("cycles", cycles, at_least=1)

    def __call__(self, progress: float) -> float:
        # Progress is a quotient of whole numbers: 3 / 10 of 5 cycles must not fall short of 1.5.
        is_high = math.floor(2 * self.cycles * progress + 1e-9) % 2
        return self.mean + self.swing if is_high else self.mean - self.swing


def as_keep_ratio(value: float | Schedule) -> Schedule:
    """The schedule of a keep ratio, checked over the whole of training.

    Args:
        value: A number in (0, 1], or a schedule of such.

    Raises:
        TypeError: If `value` is neither a number nor a `Schedule`.
        ValueError: If it leaves (0, 1] at any of 1,001 points of progress.
    """
    why = "it is the share of the training set to train on, so 0.3 keeps 30 %"
    if isinstance(value, Schedule):
        for i in range(1001):
            ratio = value(i / 1000)
            if not 0 < ratio <= 1:
                where = "" if isinstance(value, Constant) else f" at progress {i / 1000}"
                raise ValueError(f"`keep_ratio` must be in (0, 1], got {ratio}{where}; {why}")
        return value
    given: object = value  # whatever its type says
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise TypeError(f"`keep_ratio` must be a number in (0, 1] or a dynsel.schedules.Schedule, got {value!r}")
    return Constant(check_number("keep_ratio", value, above=0, at_most=1, why=why))


def check_schedule(name: str, value: float | Schedule, low: float = 0.0, high: float = math.inf) -> Schedule:
    """The schedule of an argument that is a number or a schedule, checked over the whole of training.

    Args:
        name: The parameter, as its user writes it.
        value: A number, or a schedule of numbers.
        low: Lowest value that is allowed.
        high: Highest value that is allowed.

    Raises:
        TypeError: If it is neither a number nor a `Schedule`.
        ValueError: If it is not finite or leaves [low, high] at any of 1,001 points of progress.
    """
    if not isinstance(value, Schedule):
        what = "a number or a schedule"
        return Constant(check_number(name, value, at_least=low, at_most=high, what=what))
    for i in range(1001):
        try:
            check_number(name, value(i / 1000), at_least=low, at_most=high)
        except (TypeError, ValueError) as error:
            where = "" if isinstance(value, Constant) else f" at progress {i / 1000}"
            raise type(error)(f"{error}{where}") from error
    return value


def sample_count(keep_ratio: float, num_samples: int) -> int:
    """How many samples a keep ratio stands for: rounded half up, never below one.

    Args:
        keep_ratio: Share of the samples, in (0, 1].
        num_samples: Number of samples, N.
    """
    return min(num_samples, max(1, math.floor(keep_ratio * num_samples + 0.5)))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
