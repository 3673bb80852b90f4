"""The numbers behind the pictures: by hand, and as the pictures show them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import N, runs

from dynsel._lib.tables import csv_table
from dynsel.compare import RunRecord
from dynsel.compare.report.data import curve_data, overlap_data, overlaps, time_data, usage_data, usage_table


def used(name: str, seed: int, *usage: int) -> RunRecord:
    return RunRecord(name, seed, usage=list(usage))


def test_overlap_by_hand() -> None:
    # Shares 1/2 1/2 0 0, and 1/4 0 1/4 1/2, have 1/4 in common; the second seeds everything.
    records = [used("a", 0, 1, 1, 0, 0), used("b", 0, 2, 0, 2, 4), used("a", 1, 5, 5, 5, 5), used("b", 1, 1, 1, 1, 1)]
    names, shares = overlaps(records)
    assert names == ["a", "b"]
    # On the diagonal between the seeds: 1/4 + 1/4, and 1/4 + 0 + 1/4 + 1/4.
    np.testing.assert_allclose(shares, [[0.5, 0.625], [0.625, 0.75]])
    assert overlap_data(records)[1] == {"selector": "a", "other": "b", "overlap": 0.625}


def test_seeds_that_are_no_pair_are_not_compared() -> None:
    shares = overlaps([used("a", 0, 1, 0), used("b", 1, 1, 0)])[1]
    assert np.isnan(shares).all()
    assert overlap_data([used("a", 0, 1, 0)])[0]["overlap"] == ""


usages = st.lists(st.integers(0, 9), min_size=6, max_size=6).filter(any)


@given(usages, usages)
def test_overlap_is_one_minus_the_total_variation(a: list[int], b: list[int]) -> None:
    p, q = np.array(a) / sum(a), np.array(b) / sum(b)
    shares = overlaps([used("a", 0, *a), used("b", 0, *b)])[1]
    assert shares[0, 1] == shares[1, 0] == pytest.approx(1 - np.abs(p - q).sum() / 2)


def test_usage_by_hand() -> None:
    records = [used("a", 0, 0, 0, 0, 4), used("a", 1, 0, 2, 2, 0)]
    assert usage_data(records) == [
        {"selector": "a", "times_trained_on": uses, "share": share}
        for uses, share in ((0, 5 / 8), (2, 2 / 8), (4, 1 / 8))
    ]
    # Never used 3/4 and 1/2; Gini 3/4 and 1/2; mean 1.
    table = usage_table(records, {"a": "short"})
    assert table.rows == [["short", "62.5", "0.625", "1.0", "4"]]


def test_time_by_hand() -> None:
    (row,) = time_data(runs(("rrd",), 2))
    assert row == {
        "selector": "rrd",
        "training s": 3.5,
        "waiting for data s": 0.5,
        "selection s": 0.75,
        "fitting s": 0.25,
    }


def test_curves_keep_every_digit() -> None:
    records = runs(("full", 'a,b"c'), 2)
    rows = list(csv.DictReader(csv_table(curve_data(records, "val_accuracy")).splitlines()))
    assert len(rows) == 4 * 12
    assert {row["selector"] for row in rows} == {"full", 'a,b"c'}
    assert [float(row["val_accuracy"]) for row in rows] == [p.value for run in records for p in run.curve]
    assert sum(records[0].usage) == 8 * N
