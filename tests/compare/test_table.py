"""Rows as text for terminal, Markdown and page."""

from __future__ import annotations

from dataclasses import replace

from reports import VALUES, all_records, lines, record

from dynsel.compare import summarise
from dynsel.compare.results import results_csv
from dynsel.compare.table import labels, tables


def test_time_of_that_allowed_by_hand() -> None:
    # Ten steps in 1.5 s without selection, so 20 of them would take 3 s: 2 s are two thirds of that.
    *_, seconds = tables(summarise([record("rrd", 0, 0.8)]), 1, "val_accuracy", allowed=20)
    assert seconds.headings[-1] == "of time allowed"
    assert lines(seconds)["rrd"][-1] == "0.67"


def test_results_as_text() -> None:
    rows = summarise(all_records(VALUES))
    table, cost, seconds = tables(rows, 3, "val_accuracy")
    assert table.headings == ["selector", "val_accuracy %", "vs random", "p", "verdict", "vs full", "p"]
    assert "95 % confidence interval" in table.title
    by_name = lines(table)
    assert by_name["rrd"][:4] == ["85.00 ± 4.97", "+3.00 ± 4.97", "0.243", "same"]
    assert by_name["hybrid"][3] == "better"
    assert by_name["random"][1:4] == ["–", "–", "–"]
    assert by_name["full"][4:] == ["–", "–"]
    assert lines(cost)["rrd"] == ["100", "0", "10", "not counted"]
    parts = ("selection", "fitting", "data")
    assert seconds.headings[1:] == ["wall-clock s", *(f"of which {part} s" for part in parts), "evaluation s"]
    assert lines(seconds)["rrd"] == ["2.0", "0.50", "0.30", "0.70", "0.2"]
    # As a loss the same numbers mean the opposite, without a unit.
    loss = lines(tables(summarise(all_records(VALUES), metric="val_loss"), 3, "val_loss")[0])
    assert loss["rrd"][0] == "0.8500 ± 0.0497"
    assert loss["hybrid"][3] == "worse"


def test_operations_of_small_and_of_large_networks() -> None:
    def text(**flops: float) -> str:
        run = record("a", 0, 0.5)
        return tables(summarise([replace(run, **flops)]), 1, "val_accuracy")[1].rows[0][4]

    assert text(flops=4.4e8, selection_flops=1.1e8) == "0.00044 / 0.00011"
    assert [text(flops=2.5e16), text(flops=0.0), text()] == ["25,000", "0", "not counted"]


def test_one_seed_has_no_interval() -> None:
    rows = summarise([record("random", 0, 0.5), record("rrd", 0, 0.6)])
    assert rows[1].std is rows[1].ci95 is rows[1].versus["random"].p is None
    table = tables(rows, 1, "val_accuracy")[0]
    assert lines(table)["rrd"] == ["60.00", "+10.00", "–", "n = 1"]
    assert table.title == "n = 1: no interval"


def test_without_random_there_is_no_verdict() -> None:
    rows = summarise(all_records({name: VALUES[name] for name in ("full", "rrd")}))
    table = tables(rows, 3, "val_accuracy")[0]
    assert table.headings == ["selector", "val_accuracy %", "vs full", "p"]
    alone = tables(summarise(all_records({"rrd": VALUES["rrd"]})), 3, "val_accuracy")[0]
    assert alone.headings == ["selector", "val_accuracy %"]
    assert rows[1].verdict == ""


def test_long_names_are_numbered() -> None:
    long = [f"hybrid:noise=0.1,refresh={i},sae_epochs=6" for i in (2, 3)]
    mine = "my.package.selectors.with_a_long_name.Mine"
    assert list(labels(["random", *long, mine]).values()) == ["random", "hybrid #1", "hybrid #2", "Mine #1"]
    rows = summarise([record(long[0], 0, 0.5)])
    assert tables(rows, 1, "val_accuracy")[0].rows[0][0] == "hybrid #1"
    assert results_csv(rows, "val_accuracy").splitlines()[1].startswith(f'"{long[0]}",1')
