"""What `dynsel compare` leaves: tables on the terminal, as Markdown and as CSV, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynsel._lib.console import say, value_table
from dynsel._lib.files import write_atomically
from dynsel.compare.conclusion import conclusion
from dynsel.compare.entry import Configured
from dynsel.compare.facts import conditions, energy_parts, meanings
from dynsel.compare.plan import Plan
from dynsel.compare.record import RunRecord
from dynsel.compare.report import write_report
from dynsel.compare.report.style import metric_label
from dynsel.compare.results import results_csv, results_markdown
from dynsel.compare.store import Store
from dynsel.compare.summary import Row, summarise
from dynsel.compare.table import Table, labels, shortened, tables
from dynsel.compare.worth import UNITS, worths

if TYPE_CHECKING:
    from rich.console import Console

    from dynsel.compare.run import Comparison

__all__ = ["write_results"]


def write_results(
    plan: Plan,
    store: Store,
    records: list[RunRecord],
    comparison: Comparison,
    console: Console,
    full: Sequence[RunRecord] = (),
) -> int:
    """Print the tables, and write them and the report.

    Args:
        plan: What was compared.
        store: Folder of the comparison.
        records: All runs, those that failed among them.
        comparison: What made the runs; it knows the data set and the device.
        console: Where to print.
        full: Runs of full data of several lengths, if the results are told in these.

    Returns:
        Exit code: 1 if a run failed, else 0. Without any result nothing is written.
    """
    if all(run.error for run in records):
        say(console, "no run finished: there is nothing to tabulate")
        return 1
    configured = Configured.of(store.settings)
    rows = summarise(records, metric=plan.metric, target=plan.target, configured=configured)
    device = comparison.device() if plan.energy else None
    allowed = store.steps if plan.equal == "seconds" else None
    known = worths(rows, records, full, store.steps or 0, plan.equal, plan.metric) if plan.worth else None
    words, names = metric_label(plan.metric), labels([row.selector for row in rows])
    summary = conclusion(rows, plan.metric, words, names)
    if known is not None:
        rows = [replace(row, worth=known.of.get(row.selector)) for row in rows]
        summary = f"{summary} {known.sentence(words, names)}".strip()
    found = tables(rows, len(plan.seeds), plan.metric, energy_parts(rows, device), allowed, UNITS[plan.equal])
    facts, columns = conditions(plan, store, rows, device, [*records, *full]), meanings(plan, rows)
    write_atomically(plan.results / "table.md", results_markdown(found, [*facts, *columns], summary))
    write_atomically(plan.results / "results.csv", results_csv(rows, plan.metric))
    _print_tables(plan, found, rows, console)
    console.print(summary)
    page: dict[str, Any] = {"tables": found, "facts": facts, "meanings": columns, "worths": known, "summary": summary}
    dataset = comparison.train_dataset()
    paths = write_report(records, plan.results, metric=plan.metric, dataset=dataset, **page)
    say(console, ", ".join(map(str, paths)))
    return 1 if any(row.errors for row in rows) or any(run.error for run in full) else 0


def _print_tables(plan: Plan, found: Sequence[Table], rows: Sequence[Row], console: Console) -> None:
    for one in found:
        # Headings of two lines make the columns narrow.
        headings = [text.replace("of which ", "of which\n").replace("of time ", "of time\n") for text in one.headings]
        table = value_table(headings, one.rows, title=one.title)
        table.columns[1].no_wrap = False  # an error may need several lines
        console.print(table)
    for name, short in shortened(rows).items():
        say(console, f"{short}: {name}")
    say(console, f"{plan.results / 'table.md'}, {plan.results / 'results.csv'}")
