"""What a result is worth in full data's training: by curves made by hand, and by another's isotonic regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import runs
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from dynsel.compare import RunRecord, summarise
from dynsel.compare.report.worth import worth_data, worth_figure
from dynsel.compare.table import tables
from dynsel.compare.worth import LengthCurve, Worth, Worths, length_curve, length_reaching, monotone, worth, worths

# Twice the length is 10 points more.
CURVE = LengthCurve((0.5, 1.0, 2.0), ({0: 0.8}, {0: 0.9}, {0: 1.0}))


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (0.79, 0.0),
        (0.80, 0.5),
        (0.85, math.sqrt(0.5)),
        (0.90, 1.0),
        (0.95, math.sqrt(2.0)),
        (1.00, 2.0),
        (1.01, math.inf),
    ],
)
def test_a_curve_made_by_hand(value: float, length: float) -> None:
    assert length_reaching(value, CURVE.lengths, monotone(CURVE.means())) == pytest.approx(length)
    found = worth(CURVE, {0: value})
    assert found is not None
    assert (found.n, found.factor, found.low) == (1, pytest.approx(length), None)
    falling = LengthCurve(CURVE.lengths, tuple({0: -at[0]} for at in CURVE.values))
    assert worth(falling, {0: -value}, lower=True) == Worth(1, found.factor, None, None, 0.5, 2.0, 1.0, -value)
    half = worth(CURVE, {0: value}, cost=0.5)
    assert half is not None
    assert half.factor == pytest.approx(2 * length)


def test_of_a_flat_piece_its_beginning_counts() -> None:
    flat = [0.8, 0.9, 0.9, 1.0]
    assert length_reaching(0.9, [1.0, 2.0, 4.0, 8.0], np.array(flat)) == 2.0
    assert length_reaching(0.95, [1.0, 2.0, 4.0, 8.0], np.array(flat)) == pytest.approx(math.sqrt(32))
    # A dip is levelled: (0.95 + 0.85) / 2.
    dipped = LengthCurve((1.0, 2.0, 4.0), ({0: 0.8}, {0: 0.95}, {0: 0.85}))
    found = worth(dipped, {0: 0.85})
    assert found is not None
    assert found.factor == pytest.approx(math.sqrt(2.0))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_fit_is_that_of_scikit_learn(values: list[float]) -> None:
    oracle = IsotonicRegression().fit_transform(np.arange(len(values)), values)
    assert monotone(np.array(values)) == pytest.approx(oracle, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_more_is_never_worth_less(values: list[float], one: float, other: float) -> None:
    fitted, lengths = monotone(np.array(values)), [2.0**i for i in range(len(values))]
    low, high = (length_reaching(value, lengths, fitted) for value in sorted((one, other)))
    assert low <= high
    assert low == 0 or lengths[0] <= low
    assert math.isinf(high) or high <= lengths[-1]


def test_the_ends_of_the_interval_are_where_the_paired_test_turns() -> None:
    """SciPy's own paired t-test is the oracle."""
    rng, lengths = np.random.default_rng(1), (0.4, 0.55, 0.7, 0.85, 1.0, 1.4)
    full = np.array([0.8 + 0.1 * np.log2(lengths) + e for e in rng.normal(0, 0.003, (5, 6))])
    own = 0.81 + rng.normal(0, 0.003, 5)
    found = worth(LengthCurve(lengths, tuple(dict(enumerate(at)) for at in full.T.tolist())), dict(enumerate(own)))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.4 < found.low < found.factor < found.high < 1.4
    for end in (found.low, found.high):
        at_end = np.array([np.interp(math.log(end), np.log(lengths), row) for row in full])
        assert stats.ttest_rel(own, at_end).pvalue == pytest.approx(0.05, abs=0.005)


def test_what_is_beyond_the_curve_is_not_known() -> None:
    curve = LengthCurve((0.5, 1.0, 2.0), ({0: 0.8, 1: 0.7}, {0: 0.9, 1: 0.8}, {0: 1.0, 1: 0.9}))
    wide = worth(curve, {0: 1.1, 1: 0.6})
    assert wide is not None
    assert (wide.low, wide.high) == (0.0, math.inf)
    assert wide.text() == "1.00 × (less than 0.50 to more than 2.00)"
    assert wide.ends() == ["1.00", "< 0.50", "> 2.00"]
    # Each seed is as far above its own curve: what seeds have in common is no doubt.
    paired = worth(curve, {0: 0.95, 1: 0.85})
    assert paired is not None
    assert (paired.low, paired.high) == pytest.approx((math.sqrt(2.0), math.sqrt(2.0)), rel=2e-3)


def test_a_result_that_the_test_tells_from_no_length_is_not_said_to_be_worth_one_for_sure() -> None:
    """Above full data by 0.2 ± 0.4 points: 1 is in the interval whenever p is above 0.05."""
    rng, lengths = np.random.default_rng(2), (0.4, 0.7, 1.0, 1.4)
    for n in (2, 3, 5):
        for _ in range(20):
            full = np.array([0.8 + 0.1 * np.log2(lengths) + e for e in rng.normal(0, 0.005, (n, 4))])
            own = full[:, 2] + rng.normal(0.002, 0.004, n)
            curve = LengthCurve(lengths, tuple(dict(enumerate(at)) for at in full.T.tolist()))
            found = worth(curve, dict(enumerate(own)))
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            same = stats.ttest_rel(own, full[:, 2]).pvalue > 0.05
            assert not same or found.low <= 1.0 <= found.high


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_interval_covers_what_is_true(n: int) -> None:
    rng, covered, lengths = np.random.default_rng(0), 0, (0.4, 0.55, 0.7, 0.85, 1.0, 1.4)
    for _ in range(200):
        at = [{s: 0.8 + 0.1 * math.log2(x) + e for s, e in enumerate(rng.normal(0, 0.01, n))} for x in lengths]
        values = {s: 0.8 + 0.1 * math.log2(1.2) + e for s, e in enumerate(rng.normal(0, 0.01, n))}
        found = worth(LengthCurve(lengths, tuple(at)), values)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.2 <= found.high
    assert covered >= 184  # of 200 at 95 % fewer than 184 come up once in thirty times


def test_failed_seeds_are_left_out_and_with_diverged_ones_nothing_is_said() -> None:
    curve = LengthCurve((1.0, 2.0), ({0: 0.8, 1: 0.7}, {0: 0.9, 1: 0.8}))
    assert worth(curve, {0: 0.8, 7: 0.9}) == Worth(1, 1.0, None, None, 1.0, 2.0, 1.0, 0.8)
    assert worth(curve, {7: 0.9}) is None
    assert worth(curve, {0: 0.8, 1: math.nan}) is None
    records = [RunRecord("full", s, 0.5, steps=steps) for s in range(2) for steps in (10, 20)]
    broken = [*records, RunRecord("full", 2, 0.5, steps=10), RunRecord("full", 2, error="no")]
    assert length_curve(broken, 20) == LengthCurve((0.5, 1.0), ({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5}))


def of_three_selectors(equal: str = "steps") -> Worths:
    """Full data gains 7 points with each doubling; its run of 120 steps takes 7,200 samples."""
    full = [
        RunRecord("full", s, 0.9 + 0.07 * math.log2(length) + s / 1000, steps=round(120 * length), samples=7200)
        for length in (0.5, 1.0, 1.5)
        for s in range(2)
    ]
    records = [
        *full[2:4],
        RunRecord("random", 0, 0.865, steps=120, samples=3600, seconds=10.0),
        RunRecord("rrd", 0, 0.99, steps=120, samples=7200, seconds=10.0, selection_seconds=5.0),
        RunRecord("loss", 0, error="RuntimeError: no"),
    ]
    return worths(summarise(records), records, full, 120, equal, "val_accuracy")


@pytest.mark.parametrize(("equal", "factors"), [("steps", (1, 1)), ("samples", (0.5, 1)), ("seconds", (1, 2))])
def test_costs_are_those_that_the_comparison_has_equal(equal: str, factors: tuple[float, float]) -> None:
    found = of_three_selectors(equal)
    assert set(found.of) == {"random", "rrd"}
    assert tuple(one.cost for one in found.of.values()) == pytest.approx(factors)
    assert found.of["random"].factor == pytest.approx(2**-0.5 / factors[0])
    assert found.of["rrd"].factor == math.inf
    assert found.of["rrd"].longest == pytest.approx(1.5 / factors[1])


def test_sentence_table_and_picture() -> None:
    found = of_three_selectors()
    names = {name: name for name in found.of}
    said = "Validation accuracy in optimiser steps of full data: rrd is worth more than 1.50 ×, random 0.71 ×."
    assert found.sentence("validation accuracy", names) == said
    assert Worths(found.curve, {}).sentence("validation accuracy", {}) == ""
    rows = [r for r in summarise(runs()) if r.selector in found.of]
    rows = [type(r)(**{**vars(r), "worth": found.of[r.selector]}) for r in rows]
    table = tables(rows, 3, "val_accuracy")[1]
    assert table.title == "worth in optimiser steps of full data"
    assert table.rows == [["random", "1.00", "0.71", "0.71", "–", "–"], ["rrd", "1.00", "> 1.50", "> 1.50", "–", "–"]]
    figure = worth_figure(found)
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "full data",
        "rrd: worth more than 1.50 ×",
        "random: worth 0.71 ×",
    ]
    low, high = axes.get_xlim()
    assert low < 0.5 < 1.5 < high
    figure.canvas.draw()
    data = worth_data(found, "val_accuracy")
    assert len(data) == 3 * 2 + 2
    assert data[0]["length"] == 0.5
    assert data[-1]["worth"] == math.inf


def test_a_result_of_a_budget_is_told_in_what_it_took_and_in_what_full_data_take() -> None:
    curve = LengthCurve((0.4, 1.0, 1.4), ({0: 0.5}, {0: 0.8}, {0: 0.9}))
    half = worth(curve, {0: 0.8}, cost=0.5)
    assert half is not None
    assert (half.factor, half.length(), half.ends()) == (2.0, "1.00", ["2.00"])
    for value, length in ((0.4, "< 0.40"), (0.95, "> 1.40")):
        beyond = worth(curve, {0: value}, cost=0.5)
        assert beyond is not None
        assert beyond.length() == length
