"""Writes a report's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynsel._lib.files import write_atomically
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.report.data import usage_table
from dynsel.compare.report.page import Facts, page_html
from dynsel.compare.report.pictures import pictures
from dynsel.compare.report.style import metric_label
from dynsel.compare.table import Table, labels
from dynsel.compare.worth import Worths

__all__ = ["write_report"]


def write_report(
    records: Sequence[RunRecord],
    folder: Path,
    *,
    metric: str = "val_accuracy",
    dataset: Any = None,
    tables: Sequence[Table] = (),
    facts: Facts = (),
    meanings: Facts = (),
    worths: Worths | None = None,
    summary: str = "",
) -> list[Path]:
    """Write `report.html`, and beside it each picture as PNG and its numbers as CSV.

    Args:
        records: Runs; those that failed are left out of the pictures.
        folder: Folder to write to.
        metric: Name of the metric of the runs' values.
        dataset: Training set, for the sheets of images; None leaves them out.
        tables: Tables of the comparison.
        facts: Conditions of the measurement, as (heading, text).
        meanings: Meanings of the tables' columns, as (heading, text).
        worths: What the results are worth in full data's training, if that was asked for.
        summary: What came out, in a sentence.

    Returns:
        Paths of the page and the pictures; without runs nothing is written and the list is empty.
    """
    if not records:
        return []
    done = [record for record in records if record.error is None]
    shown = list(pictures(done, metric=metric, dataset=dataset, worths=worths))
    used = [record for record in done if record.usage]
    if used:
        # Failed selectors count for the numbers that long names get.
        tables = [*tables, usage_table(used, labels(list(by_selector(records))))]
    for picture in shown:
        write_atomically(folder / f"{picture.name}.png", picture.png)
        write_atomically(folder / f"{picture.name}.csv", picture.csv)
    title = f"Data selection compared: {metric_label(metric)}"
    page = page_html(title, tables=tables, pictures=shown, facts=facts, meanings=meanings, summary=summary)
    write_atomically(folder / "report.html", page)
    return [folder / "report.html", *(folder / f"{picture.name}.png" for picture in shown)]
