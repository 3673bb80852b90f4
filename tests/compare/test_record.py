"""Runs by selector, in the order in which they come up."""

from __future__ import annotations

from dynsel.compare.record import RunRecord, by_selector


def test_selectors_keep_the_order_in_which_they_come_up():
    runs = [RunRecord(name, seed) for seed in (3, 1) for name in ("rrd", "full")]
    found = by_selector(runs)
    assert list(found) == ["rrd", "full"]
    assert [run.seed for run in found["rrd"]] == [3, 1]
    assert by_selector([]) == {}
