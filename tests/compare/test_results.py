"""Tables as files: Markdown and CSV, with selectors that failed."""

from __future__ import annotations

import csv

from reports import VALUES, all_records, lines, record

from dynsel.compare import summarise
from dynsel.compare.results import results_csv, results_markdown
from dynsel.compare.table import tables


def test_a_selector_without_any_result() -> None:
    rows = summarise([record("rrd", 0, float("nan"), error="RuntimeError: no")], target=0.5)
    page = results_markdown(tables(rows, 1, "val_accuracy"), [("seeds", "0 (n = 1)")])
    assert "| rrd | failed: seed 0: RuntimeError: no |" in page
    assert page.startswith("- seeds: 0 (n = 1)\n")
    assert results_csv(rows, "val_accuracy").splitlines()[1].startswith("rrd,0,,")


def test_a_failed_selector_leaves_the_others_alone() -> None:
    failed = [record("rrd", seed, float("nan"), error="RuntimeError: a | b") for seed in range(3)]
    records = [*all_records({name: VALUES[name] for name in ("random", "hybrid")}), *failed]
    rows = summarise(records, target=0.8)
    found = tables(rows, 3, "val_accuracy")
    assert all(len(row) == len(table.headings) for table in found for row in table.rows)
    assert [set(lines(table)) for table in found] == [{"random", "hybrid", "rrd"}] + [{"random", "hybrid"}] * 3
    hybrid = rows[1].versus["random"]
    assert hybrid.p_holm == hybrid.p, "the failed one is no comparison"
    assert len(list(csv.DictReader(results_csv(rows, "val_accuracy").splitlines()))) == 3


def test_csv_has_all_numbers() -> None:
    rows = summarise(all_records(VALUES), target=0.86)
    found = {line["selector"]: line for line in csv.DictReader(results_csv(rows, "val_accuracy").splitlines())}
    rrd = found["rrd"]
    assert float(rrd["val_accuracy_std"]) == rows[2].std
    assert float(rrd["val_accuracy_ci95"]) == rows[2].ci95
    assert float(rrd["vs_full_p_holm"]) == rows[2].versus["full"].p_holm
    assert (rrd["verdict"], rrd["target"], rrd["target_reached"], rrd["target_samples"]) == ("same", "0.86", "1", "inf")
    assert found["random"]["vs_random_mean"] == ""
    empty = results_csv(summarise(all_records({"rrd": (0.8,)})), "val_accuracy").splitlines()[0]
    assert empty == results_csv(rows, "val_accuracy").splitlines()[0]
