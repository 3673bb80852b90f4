"""The tables of a comparison, as text that terminal, Markdown and web page lay out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dynsel.compare.stats import Difference, lower_is_better
from dynsel.compare.summary import BASELINES, Row

__all__ = ["Table", "is_share", "labels", "of_allowed", "shortened", "tables", "value_text"]

# A longer selector leaves no room for the numbers on a terminal of 120 columns.
LONGEST = 34


@dataclass(frozen=True)
class Table:
    """Text to be laid out.

    Attributes:
        title: What the numbers are.
        headings: Headings of the columns; the first column names the rows.
        rows: Cells, as many in each row as there are headings.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(
    rows: Sequence[Row],
    n: int,
    metric: str,
    energy: Sequence[str] = (),
    allowed: int | None = None,
    worth: str = "optimiser steps",
) -> list[Table]:
    """What came out, what it is worth and what it cost, what time it took, and how soon a target was reached.

    Args:
        rows: One for each selector, as `summarise` gives them.
        n: Number of seeds that were asked for.
        metric: Name of the metric; accuracies are given in percent.
        energy: Whose energy to tell: any of "GPU" and "CPU".
        allowed: Optimiser steps whose time without selection each run was given, if time is equal; else None.
        worth: Unit of full data's training that worth is told in: "optimiser steps", "samples" or "time".
    """
    names = labels([row.selector for row in rows])
    done = [row for row in rows if row.n]
    found = [_results(rows, names, n, metric)]
    if any(row.worth for row in done):
        found.append(_worths(done, names, worth))
    if done:
        found += [_costs(done, names), _times(done, names, energy, allowed)]
    if any(row.speed for row in done):
        found.append(_speeds(done, names, metric))
    return found


def labels(selectors: Sequence[str], longest: int = LONGEST) -> dict[str, str]:
    """What the tables call each selector: its name, or for a long one its class and a number.

    Args:
        selectors: Names of the selectors, with arguments where given.
        longest: Number of characters that a name may have.

    Returns:
        Label of each selector by its name.
    """
    found: dict[str, str] = {}
    count = Counter[str]()
    for name in selectors:
        found[name] = name
        if len(name) > longest:
            short = name.partition(":")[0].rpartition(".")[2]
            count[short] += 1
            found[name] = f"{short} #{count[short]}"
    return found


def shortened(rows: Sequence[Row]) -> dict[str, str]:
    """The selectors whose names are too long for the tables, and what the tables call them instead.

    Args:
        rows: One for each selector.
    """
    return {name: short for name, short in labels([row.selector for row in rows]).items() if short != name}


# -------------------------------------------------------------------- the tables
def _results(rows: Sequence[Row], names: dict[str, str], n: int, metric: str) -> Table:
    headings = ["selector", metric + (" %" if is_share(metric) else "")]
    baselines = [b for b in BASELINES if any(b in row.versus for row in rows)]
    for baseline in baselines:
        headings += [f"vs {baseline}", "p"] + (["verdict"] if baseline == BASELINES[0] else [])
    spread = "± 95 % confidence interval over seeds (Student's t)" if n > 1 else "no interval"
    body = [[names[row.selector], *_result(row, baselines, n, metric)] for row in rows]
    body = [line + [""] * (len(headings) - len(line)) for line in body]
    return Table(f"n = {n}: {'mean ' if n > 1 else ''}{spread}", headings, body)


def _result(row: Row, baselines: Sequence[str], n: int, metric: str) -> list[str]:
    if row.mean is None:
        return ["failed: " + "; ".join(row.errors)]
    text = _with_interval(row.mean, row.ci95, metric)
    if row.n < n:
        text += f" (n = {row.n} of {n}; failed: {'; '.join(row.errors)})"
    line = [text]
    for baseline in baselines:
        line += _difference(row.versus.get(baseline), n, metric)
        line += [row.verdict or "–"] if baseline == BASELINES[0] else []
    return line


def _difference(difference: Difference | None, n: int, metric: str) -> list[str]:
    if difference is None:
        return ["–", "–"]
    text = _with_interval(difference.mean, difference.ci95, metric, sign="+")
    if difference.n < n:
        text += f" (n = {difference.n})"
    p = difference.p_holm
    return [text, "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"]


def _worths(rows: Sequence[Row], names: dict[str, str], unit: str) -> Table:
    headings = ["selector", "took ×", "full data takes ×", "worth ×", "from", "to"]
    body = []
    for row in rows:
        if row.worth:
            ends = row.worth.ends()
            line = [names[row.selector], f"{row.worth.cost:.2f}", row.worth.length(), *ends]
            body.append(line + ["–"] * (len(headings) - len(line)))
    return Table(f"worth in {unit} of full data", headings, body)


def _costs(rows: Sequence[Row], names: dict[str, str]) -> Table:
    headings = ["selector", "samples", "scored", "steps", "TFLOP"]
    body = [
        [
            names[row.selector],
            f"{row.samples:,.0f}",
            f"{row.samples_scored or 0:,.0f}",
            f"{row.steps:,}",
            _operations(row),
        ]
        for row in rows
    ]
    if any(row.wrong_share is not None for row in rows):
        headings.append("wrong labels %")
        body = [
            [*line, "–" if row.wrong_share is None else f"{100 * row.wrong_share:.1f}"]
            for line, row in zip(body, rows, strict=True)
        ]
    return Table("cost: mean over seeds", headings, body)


def _operations(row: Row) -> str:
    """Operations in units of 10¹², and after a stroke the part that choosing took, if any."""
    if row.flops is None:
        return "not counted"
    return " / ".join(_tera(count) for count in (row.flops, row.selection_flops) if count) or "0"


def _tera(flops: float) -> str:
    """Three digits, however small the network."""
    return f"{flops / 1e12:,.0f}" if flops >= 1e15 else f"{flops / 1e12:.3g}"


def _times(rows: Sequence[Row], names: dict[str, str], energy: Sequence[str], allowed: int | None) -> Table:
    parts = {"selection": "selection_seconds", "fitting": "fit_seconds", "data": "data_seconds"}
    headings = ["selector", "wall-clock s", *(f"of which {part} s" for part in parts), "evaluation s"]
    headings += [f"{part} J" for part in energy]
    body = [
        [
            names[row.selector],
            f"{row.seconds:.1f}",
            *(f"{getattr(row, name):.2f}" for name in parts.values()),
            "–" if row.evaluation_seconds is None else f"{row.evaluation_seconds:.1f}",
            *(_joules(getattr(row, f"{part.lower()}_joules")) for part in energy),
        ]
        for row in rows
    ]
    if allowed is not None:
        headings.append("of time allowed")
        body = [[*line, f"{of_allowed(row, allowed):.2f}"] for line, row in zip(body, rows, strict=True)]
    return Table(f"time{' and energy' if energy else ''}: mean over seeds", headings, body)


def _joules(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}"


def _speeds(rows: Sequence[Row], names: dict[str, str], metric: str) -> Table:
    headings = ["selector", "seeds", "samples", "steps", "wall-clock s"]
    body = [[names[row.selector], *_speed(row)] for row in rows]
    target = next(row.speed.target for row in rows if row.speed)
    sign = "≤" if lower_is_better(metric) else "≥"
    return Table(f"speed to {metric} {sign} {value_text(target, metric)}: median over seeds", headings, body)


def _speed(row: Row) -> list[str]:
    speed = row.speed
    if speed is None or not speed.reached:
        return [f"0 of {row.n}", "never", "never", "never"]
    ends = ((speed.samples, row.samples, ",.0f"), (speed.steps, row.steps, ",.0f"), (speed.seconds, row.seconds, ".1f"))
    # No more than half of the seeds got there: all that is known of the median is that it lies beyond the run's end.
    taken = [f"{value:{form}}" if math.isfinite(value) else f"> {end:{form}}" for value, end, form in ends]
    return [f"{speed.reached} of {row.n}", *taken]


# -------------------------------------------------------------------- numbers
def of_allowed(row: Row, allowed: int) -> float:
    """Time of a run in units of what the allowed steps take at its own speed, without selection.

    Args:
        row: A selector with a finished run.
        allowed: Optimiser steps of the configured training.
    """
    seconds, selection = row.seconds or 0.0, row.selection_seconds or 0.0
    return seconds * (row.steps or 0) / ((seconds - selection) * allowed)


def is_share(metric: str) -> bool:
    """Whether a metric is a share that reads best in percent, judged by its name.

    Args:
        metric: Name of the metric, as in "val_accuracy".
    """
    return "acc" in metric.lower()


def value_text(value: float, metric: str) -> str:
    """A value of the metric with its unit.

    Args:
        value: Value as it was logged.
        metric: Name of the metric; accuracies are given in percent.
    """
    return _number(value, metric) + (" %" if is_share(metric) else "")


def _number(value: float, metric: str, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}" if is_share(metric) else f"{value:{sign}.4f}"


def _with_interval(value: float, ci95: float | None, metric: str, sign: str = "") -> str:
    text = _number(value, metric, sign)
    return text if ci95 is None else f"{text} ± {_number(ci95, metric)}"
