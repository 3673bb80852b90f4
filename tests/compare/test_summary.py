"""One row per selector: means, intervals, paired differences and speed, by hand and by scipy."""

from __future__ import annotations

import pytest
from reports import VALUES, all_records, curve, half, lines, record
from scipy import stats as oracle

from dynsel.compare import RunRecord, summarise
from dynsel.compare.entry import Configured
from dynsel.compare.record import CurvePoint
from dynsel.compare.table import tables


def test_summary_by_hand() -> None:
    random, _, rrd, _ = summarise(all_records(VALUES))
    assert (random.n, random.mean, random.std) == (3, pytest.approx(0.82), pytest.approx(0.02))
    assert (rrd.mean, rrd.std) == (pytest.approx(0.85), pytest.approx(0.02))
    # Differences 0.03, 0.01, 0.05 of the pairs.
    assert (rrd.versus["random"].mean, rrd.versus["random"].std) == (pytest.approx(0.03), pytest.approx(0.02))
    # The quantile of t with two degrees of freedom is 4.303; 4.303 * 0.02 / sqrt(3).
    assert (rrd.ci95, rrd.versus["random"].ci95) == (pytest.approx(0.04968, abs=1e-5),) * 2
    assert set(rrd.versus) == {"random", "full"}
    assert set(random.versus) == {"full"}


def test_summary_agrees_with_scipy() -> None:
    rows = {row.selector: row for row in summarise(all_records(VALUES))}
    for name, row in rows.items():
        assert row.ci95 == pytest.approx(half(list(VALUES[name])))
        for baseline, difference in row.versus.items():
            test = oracle.ttest_rel(VALUES[name], VALUES[baseline])
            low, high = test.confidence_interval(0.95)
            assert difference.p == pytest.approx(test.pvalue)
            assert (difference.mean - difference.ci95, difference.mean + difference.ci95) == pytest.approx((low, high))
    p = [rows[name].versus["random"].p for name in ("full", "rrd", "hybrid")]
    # hybrid, rrd, full in order of their p-values.
    assert p[2] < p[1] < p[0]
    corrected = [rows[name].versus["random"].p_holm for name in ("hybrid", "rrd", "full")]
    assert corrected == pytest.approx([3 * p[2], 2 * p[1], p[0]])


def test_only_seeds_in_both_are_paired() -> None:
    records = [record("random", 0, 0.5), record("rrd", 0, 0.6), record("rrd", 1, 0.9)]
    rows = summarise(records)
    assert (rows[1].versus["random"].n, rows[1].versus["random"].mean) == (1, pytest.approx(0.1))
    assert lines(tables(rows, 2, "val_accuracy")[0])["rrd"][1:] == ["+10.00 (n = 1)", "–", "n = 1"]
    apart = summarise([record("random", 0, 0.5), record("rrd", 1, 0.9)])
    assert apart[1].versus == {}


def test_a_diverged_run_gets_no_verdict() -> None:
    values = {"random": VALUES["random"], "rrd": (0.8, float("nan"), 0.9), "hybrid": VALUES["hybrid"]}
    rows = summarise(all_records(values), target=0.8)
    line = lines(tables(rows, 3, "val_accuracy")[0])["rrd"]
    assert line == ["nan ± nan", "+nan", "–", "–"]
    assert rows[2].versus["random"].p_holm == rows[2].versus["random"].p
    assert rows[1].speed is not None
    assert rows[1].speed.reached == 2


def runs(name: str, *curves: list[CurvePoint]) -> list[RunRecord]:
    return [
        RunRecord(name, seed, c[-1].value, None, c[-1].samples, c[-1].step, c[-1].seconds, 0.0, c)
        for seed, c in enumerate(curves)
    ]


def test_speed_is_the_median_over_seeds() -> None:
    low, soon, late = curve(0.1, 0.1, 0.1), curve(0.9, 0.9, 0.9), curve(0.1, 0.1, 0.9)
    records = [
        *runs("all", soon, late, late),
        *runs("most", soon, late, low),
        *runs("half", soon, low),
        *runs("few", soon, low, low),
        *runs("none", low, low, low),
    ]
    found = tables(summarise(records, target=0.76), 3, "val_accuracy")[3]
    assert found.title == "speed to val_accuracy ≥ 76.00 %: median over seeds"
    assert lines(found) == {
        "all": ["3 of 3", "300", "30", "3.0"],
        "most": ["2 of 3", "300", "30", "3.0"],
        "half": ["1 of 2", "> 300", "> 30", "> 3.0"],
        "few": ["1 of 3", "> 300", "> 30", "> 3.0"],
        "none": ["0 of 3", "never", "never", "never"],
    }
    loss = tables(summarise(runs("all", soon, low), metric="val_loss", target=0.2), 2, "val_loss")[3]
    assert loss.title == "speed to val_loss ≤ 0.2000: median over seeds"
    assert lines(loss)["all"][0] == "1 of 2"


def test_the_random_subsets_of_the_same_budget_are_the_baseline() -> None:
    values = {"full": 0.9, "random": 0.8, "rrd": 0.85, "random:budget=0.5": 0.6, "rrd:k=8,budget=0.5": 0.7}
    rows = {row.selector: row for row in summarise([record(name, 0, value) for name, value in values.items()])}
    assert rows["rrd"].versus["random"].mean == pytest.approx(0.05)
    assert rows["rrd:k=8,budget=0.5"].versus["random"].mean == pytest.approx(0.1)
    assert rows["rrd:k=8,budget=0.5"].versus["full"].mean == pytest.approx(-0.2)
    assert set(rows["random:budget=0.5"].versus) == {"full"}


def test_a_baseline_is_found_however_it_is_written() -> None:
    values = {"random:keep_ratio=0.3,budget=0.70": 0.6, "rrd:budget=0.7,keep_ratio=0.30": 0.7, "hybrid": 0.8}
    records = [record(name, 0, value) for name, value in values.items()]
    named = {row.selector: row.versus for row in summarise(records)}
    assert named["rrd:budget=0.7,keep_ratio=0.30"]["random"].mean == pytest.approx(0.1)
    assert named["hybrid"] == {}
    known = {row.selector: row.versus for row in summarise(records, configured=Configured(0.7, 0.3))}
    assert known["hybrid"]["random"].mean == pytest.approx(0.2)
