"""The table of a comparison: on the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

from dynsel.compare.record import RunRecord

__all__ = ["HEADINGS", "Row", "cells", "csv_text", "markdown", "summarise"]

HEADINGS = ("selector", "metric", "vs random", "samples", "steps", "wall-clock s", "of which selection s")


@dataclass(frozen=True)
class Row:
    """One selector over its seeds.

    Attributes:
        selector: Its name.
        n: Seeds that finished.
        mean: Of the metric after the last step.
        std: Sample standard deviation, None for n < 2.
        difference: Mean over the seeds of the difference to `random` with the same seed, if there is one.
        difference_std: Its sample standard deviation.
        samples: Mean of the samples trained on.
        steps: Optimiser steps.
        seconds: Mean training time, selection included, validation not.
        selection_seconds: Mean of the part of it that choosing took.
        errors: Of the seeds that failed.
    """

    selector: str
    n: int
    mean: float | None = None
    std: float | None = None
    difference: float | None = None
    difference_std: float | None = None
    samples: float | None = None
    steps: int | None = None
    seconds: float | None = None
    selection_seconds: float | None = None
    errors: tuple[str, ...] = ()


def summarise(records: Sequence[RunRecord], baseline: str = "random") -> list[Row]:
    """One row for each selector, in the order in which they come up.

    Args:
        records: Runs of all selectors and seeds.
        baseline: Selector that the differences refer to.
    """
    base = {r.seed: r.value for r in records if r.selector == baseline and r.error is None}
    return [_row(name, [r for r in records if r.selector == name], base) for name in _names(records)]


def _names(records: Sequence[RunRecord]) -> list[str]:
    return list(dict.fromkeys(r.selector for r in records))


def _row(name: str, records: list[RunRecord], base: dict[int, float]) -> Row:
    done = [r for r in records if r.error is None]
    errors = tuple(f"seed {r.seed}: {r.error}" for r in records if r.error is not None)
    if not done:
        return Row(name, 0, errors=errors)
    # Same seed, same weights and order: the difference of a pair is less noisy than that of the means.
    pairs = [r.value - base[r.seed] for r in done if r.seed in base]
    return Row(
        selector=name,
        n=len(done),
        mean=fmean(r.value for r in done),
        std=_std([r.value for r in done]),
        difference=fmean(pairs) if pairs else None,
        difference_std=_std(pairs),
        samples=fmean(r.samples for r in done),
        steps=done[0].steps,
        seconds=fmean(r.seconds for r in done),
        selection_seconds=fmean(r.selection_seconds for r in done),
        errors=errors,
    )


def _std(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


# -------------------------------------------------------------------- as text
def cells(row: Row, n: int, metric: str, baseline: str = "random") -> list[str]:
    """A row's entries under `HEADINGS`.

    Args:
        row: Of `summarise`.
        n: Seeds that were asked for.
        metric: Its name; accuracies are given in percent.
        baseline: Selector whose difference to itself isn't worth an entry.
    """
    scale, digits = (100.0, 2) if is_share(metric) else (1.0, 4)
    if row.mean is None:
        return [row.selector, "failed: " + "; ".join(row.errors), "", "", "", "", ""]
    value = _with_spread(row.mean * scale, row.std, scale, digits)
    if row.n < n:
        value += f" (n = {row.n} of {n}; failed: {'; '.join(row.errors)})"
    difference = "–"
    if row.difference is not None and row.selector != baseline:
        difference = _with_spread(row.difference * scale, row.difference_std, scale, digits, sign="+")
    return [
        row.selector,
        value,
        difference,
        f"{row.samples:,.0f}",
        f"{row.steps:,}",
        f"{row.seconds:.1f}",
        f"{row.selection_seconds:.2f}",
    ]


def is_share(metric: str) -> bool:
    """Whether a metric is a share that reads best in percent."""
    return "acc" in metric.lower()


def headings(metric: str) -> list[str]:
    """`HEADINGS` with the metric's name and unit."""
    name = metric + (" %" if is_share(metric) else "")
    return [HEADINGS[0], name, *HEADINGS[2:]]


def _with_spread(value: float, std: float | None, scale: float, digits: int, sign: str = "") -> str:
    text = f"{value:{sign}.{digits}f}"
    return text if std is None else f"{text} ± {std * scale:.{digits}f}"


def markdown(rows: Sequence[Row], n: int, metric: str, facts: Sequence[tuple[str, str]]) -> str:
    """A Markdown page: the facts under which the table was measured, then the table.

    Args:
        rows: Of `summarise`.
        n: Seeds that were asked for.
        metric: Its name.
        facts: What is said above the table, as (heading, text).
    """
    lines = [f"- {heading}: {text}" for heading, text in facts]
    titles = headings(metric)
    table = [titles, ["---"] + ["---:"] * (len(titles) - 1)]
    table += [[cell.replace("|", "\\|") for cell in cells(row, n, metric)] for row in rows]
    return "\n".join([*lines, "", *("| " + " | ".join(line) + " |" for line in table), ""])


def csv_text(rows: Sequence[Row], metric: str) -> str:
    """The rows with all digits, unscaled, one column a field of `Row`; the first value column is the metric's."""
    stream = io.StringIO()
    fields = [f.replace("mean", f"{metric}_mean") if f == "mean" else f for f in Row.__dataclass_fields__]
    fields = [f"{metric}_std" if f == "std" else f for f in fields]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        values = asdict(row) | {"errors": "; ".join(row.errors)}
        writer.writerow(["" if value is None else value for value in values.values()])
    return stream.getvalue()
