"""Schedules: end points, bounds, shapes and the texts of their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dynsel.schedules import (
    Constant,
    Cosine,
    Linear,
    Oscillating,
    Schedule,
    Sigmoid,
    Step,
    as_keep_ratio,
    check_schedule,
    sample_count,
)

ramps = pytest.mark.parametrize("ramp", [Linear, Cosine, Sigmoid])
values = st.floats(-100, 100)
progress = st.floats(0, 1)


@given(st.sampled_from([Linear, Cosine, Sigmoid]), values, values, progress, progress, st.floats(0, 0.5))
def test_ramps_rise_or_fall_within_their_ends(ramp, start, end, a, b, begin):
    schedule = ramp(start, end, begin, begin + 0.5)
    low, high = sorted((start, end))
    first, second = (schedule(p) for p in sorted((a, b)))
    slack = 1e-9 * (1 + abs(start) + abs(end))
    assert low - slack <= first <= high + slack
    assert (second - first) * (end - start) >= -slack * abs(end - start)


@given(st.floats(-5, 5), st.floats(0, 5), st.integers(1, 20), st.integers(1, 20))
def test_oscillations_keep_their_mean(mean, swing, cycles, half):
    epochs = 2 * cycles * half
    low_high = [Oscillating(mean, swing, cycles)(epoch / epochs) for epoch in range(epochs)]
    assert low_high == ([mean - swing] * half + [mean + swing] * half) * cycles
    assert sum(low_high) / epochs == pytest.approx(mean, abs=1e-9)


def test_an_oscillation_as_a_keep_ratio_stays_within_its_range():
    assert as_keep_ratio(Oscillating(0.5, 0.5 - 1e-9, 3))(0.0) > 0
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\]"):
        as_keep_ratio(Oscillating(0.3, 0.3, 2))
    with pytest.raises(ValueError, match="`cycles` must be at least 1, got 0"):
        Oscillating(0.3, 0.1, 0)


@ramps
def test_ramps_reach_their_ends_and_are_flat_outside(ramp):
    schedule = ramp(1.0, 0.3, begin=0.2, finish=0.6)
    assert [schedule(p) for p in (0.0, 0.1, 0.2)] == [1.0] * 3
    assert [schedule(p) for p in (0.6, 0.8, 1.0)] == pytest.approx([0.3] * 3)
    assert schedule(0.4) == pytest.approx(0.65)  # all three are symmetric about their middle


def test_shapes_are_the_formulas():
    p = np.linspace(0, 1, 11)
    assert [Linear(2, 4)(x) for x in p] == pytest.approx(list(2 + 2 * p))
    assert [Cosine(2, 4)(x) for x in p] == pytest.approx(list(3 - np.cos(np.pi * p)))
    logistic = (expit(10 * p - 5) - expit(-5)) / (expit(5) - expit(-5))
    assert [Sigmoid(2, 4)(x) for x in p] == pytest.approx(list(2 + 2 * logistic))


@ramps
@pytest.mark.parametrize(("begin", "finish"), [(0.5, 0.5), (0.6, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_ramps_name_bad_ends(ramp, begin, finish):
    with pytest.raises(ValueError, match=f"0 <= begin < finish <= 1, got {begin} and {finish}"):
        ramp(0.0, 1.0, begin, finish)


@ramps
@pytest.mark.parametrize("name", ["start", "end", "begin", "finish"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_ramps_are_finite(ramp, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be finite, got {value}"):
        ramp(**{"start": 0.0, "end": 1.0, name: value})


def test_step_changes_at_its_milestones():
    schedule = Step([1.0, 0.5, 0.3], milestones=[0.25, 0.75])
    assert [schedule(p) for p in (0, 0.2499, 0.25, 0.7499, 0.75, 1)] == [1.0, 1.0, 0.5, 0.5, 0.3, 0.3]
    assert Step([0.4], [])(0.9) == 0.4


@pytest.mark.parametrize("milestones", [[0.5, 0.2], [0.5, 0.5], [0.0, 0.5], [0.5, 1.0]])
def test_step_names_bad_milestones(milestones):
    with pytest.raises(ValueError, match=r"`milestones` must ascend within \(0, 1\), got \["):
        Step([1, 2, 3], milestones)


def test_step_wants_one_value_more():
    with pytest.raises(ValueError, match="one entry more than `milestones`, got 2 and 2"):
        Step([1, 2], [0.2, 0.4])


class Dip(Schedule):
    """Leaves (0, 1] in the middle only."""

    def __call__(self, progress: float) -> float:
        return 0.0 if 0.4 < progress < 0.6 else 0.5


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, math.nan, 30])
def test_keep_ratio_outside_its_range(bad):
    with pytest.raises(ValueError, match=rf"`keep_ratio` must be in \(0, 1\], got {bad}; .* 0.3 keeps 30 %"):
        as_keep_ratio(bad)


@pytest.mark.parametrize("bad", ["0.5", None, True, [0.5]])
def test_keep_ratio_of_another_type(bad):
    with pytest.raises(TypeError, match=r"`keep_ratio` must be a number in \(0, 1\] or a dynsel.schedules.Schedule"):
        as_keep_ratio(bad)


def test_keep_ratio_that_leaves_its_range_on_the_way():
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\], got 0.0 at progress 0.401"):
        as_keep_ratio(Dip())
    with pytest.raises(ValueError, match=r"got 0.0 at progress 1.0"):
        as_keep_ratio(Linear(0.5, 0.0))


def test_keep_ratio_within_its_range():
    assert as_keep_ratio(1)(0.5) == 1.0
    assert as_keep_ratio(Linear(1.0, 0.1))(1.0) == pytest.approx(0.1)


def test_an_argument_that_is_a_number_or_a_schedule():
    ramp = Linear(0, 1)
    assert check_schedule("x", ramp, 0, 1) is ramp
    assert check_schedule("x", np.float32(0.5))(0.3) == 0.5
    assert check_schedule("x", 10**9)(0.0) == 1e9
    with pytest.raises(ValueError, match=r"`curriculum` must be in \[0, 1\], got 2.0$"):
        check_schedule("curriculum", Constant(2), 0, 1)
    with pytest.raises(ValueError, match=r"`gamma` must be at least 0, got -\S+ at progress 0.501"):
        check_schedule("gamma", Linear(1, -1))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"`gamma` must be at least 0 and finite, got (nan|inf)"):
            check_schedule("gamma", value)
    for value in ("0.5", True, None):
        with pytest.raises(TypeError, match="`gamma` must be a number or a schedule, got "):
            check_schedule("gamma", value)


@pytest.mark.parametrize(
    ("ratio", "n", "count"),
    [(0.5, 10, 5), (0.5, 5, 3), (0.25, 10, 3), (0.3, 10, 3), (0.001, 10, 1), (1.0, 7, 7), (0.999, 7, 7), (0.1, 1, 1)],
)
def test_sample_count_by_hand(ratio, n, count):
    assert sample_count(ratio, n) == count


@given(st.floats(1e-9, 1), st.integers(1, 10**7))
def test_sample_count_is_near_and_never_empty(ratio, n):
    count = sample_count(ratio, n)
    assert 1 <= count <= n
    assert count == 1 or abs(count - ratio * n) <= 0.5 + 1e-6
