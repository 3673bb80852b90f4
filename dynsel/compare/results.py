"""Tables of a comparison as files: Markdown under the conditions of the measurement, and all numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynsel._lib.tables import csv_table, escape_tags, markdown_table
from dynsel.compare.stats import Difference
from dynsel.compare.summary import BASELINES, Row
from dynsel.compare.table import Table

__all__ = ["results_csv", "results_markdown"]

# Columns of results.csv that say what a run cost.
COSTS = (
    "samples",
    "samples_scored",
    "steps",
    "flops",
    "selection_flops",
    "seconds",
    "selection_seconds",
    "fit_seconds",
    "data_seconds",
    "evaluation_seconds",
    "gpu_joules",
    "cpu_joules",
    "wrong_share",
)


def results_markdown(found: Sequence[Table], facts: Sequence[tuple[str, str]], summary: str = "") -> str:
    """A Markdown page: what came out, the facts under which the tables were measured, then the tables.

    Args:
        found: Tables of the comparison.
        facts: What is said above the tables, as (heading, text).
        summary: What came out, in a sentence; empty if there is none.
    """
    lines = [escape_tags(summary), ""] if summary else []
    lines += [f"- {escape_tags(heading)}: {escape_tags(text)}" for heading, text in facts]
    for table in found:
        lines += ["", f"**{escape_tags(table.title)}**", "", markdown_table(table.headings, table.rows)]
    return "\n".join([*lines, ""])


def results_csv(rows: Sequence[Row], metric: str) -> str:
    """The rows with all digits, unscaled; every comparison has every column, empty where it has no value.

    Args:
        rows: One for each selector.
        metric: Name of the metric, which the columns of its values are called by.
    """
    return csv_table([_flat(row, metric) for row in rows], list(_flat(Row("", 0), metric)))


def _flat(row: Row, metric: str) -> dict[str, Any]:
    flat: dict[str, Any] = {"selector": row.selector, "n": row.n}
    flat |= {f"{metric}_mean": row.mean, f"{metric}_std": row.std, f"{metric}_ci95": row.ci95}
    for baseline in BASELINES:
        difference = row.versus.get(baseline)
        for name in Difference.__dataclass_fields__:
            flat[f"vs_{baseline}_{name}"] = getattr(difference, name, None)
    flat["verdict"] = row.verdict
    flat |= {name: getattr(row, name) for name in COSTS}
    flat["target"] = row.speed and row.speed.target
    for name in ("reached", "samples", "steps", "seconds"):
        flat[f"target_{name}"] = getattr(row.speed, name, None)
    flat |= {"worth": None, "worth_low": None, "worth_high": None}
    if row.worth is not None:
        flat |= {"worth": row.worth.factor, "worth_low": row.worth.low, "worth_high": row.worth.high}
    return flat | {"errors": "; ".join(row.errors)}
