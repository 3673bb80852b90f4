"""The command: which runs are missing, train them, tabulate and plot all."""

from __future__ import annotations

import argparse
import math
import shlex
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel._arguments import Parser
from dynsel.compare.record import CurvePoint, RunRecord
from dynsel.compare.store import Store, write_atomically
from dynsel.compare.summary import BASELINES, Row, summarise
from dynsel.compare.table import csv_text, is_share, labels, markdown, tables, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from dynsel.compare.run import Comparison

__all__ = ["compare"]

EPILOG = """\
Every run takes the optimiser steps that the full data set takes in the configured training, starts from the weights
that its seed gives, and is evaluated after its last step. Further options override the configuration, as in
--trainer.max_epochs 5 or --selection.selector.gamma 0.5. A run that is finished is kept in --out: a comparison that was
stopped goes on where it was, and more seeds or selectors can be added later.
"""


@dataclass(frozen=True)
class Plan:
    """What to compare."""

    selectors: list[str]
    seeds: list[int]
    metric: str
    out: Path
    command: str
    target: float | None = None

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Every selector with every seed; a seed's runs in a row, so that early rows can be paired."""
        return [(name, seed) for seed in self.seeds for name in self.selectors]


def _parse(args: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(
        "dynsel compare", "Train with several selectors and seeds at equal optimiser steps, and tabulate.", EPILOG
    )
    parser.add_argument(
        "--config", "-c", required=True, action="append", metavar="FILE", help="YAML file of the training"
    )
    parser.add_argument(
        "--selectors",
        nargs="+",
        default=["full", "random", "rrd"],
        metavar="NAME",
        help="short names or class paths, with arguments as in rrd:gamma=1,k=8 (default: full random rrd)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of seeds, from seed_everything on (default: 3)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where runs, table and pictures go")
    parser.add_argument("--keep-ratio", metavar="RATIO", help="short for --selection.keep_ratio")
    parser.add_argument(
        "--metric", default="val_accuracy", metavar="NAME", help="validation metric (default: val_accuracy)"
    )
    parser.add_argument(
        "--target", type=float, metavar="VALUE", help="how soon each selector reaches and holds this metric, as in 0.76"
    )
    options, rest = parser.parse_known_args(args)
    if options.seeds < 1:
        raise ValueError(f"`--seeds` must be at least 1, got {options.seeds}")
    if len(set(options.selectors)) < len(options.selectors):
        raise ValueError(f"`--selectors` must name each selector once, got {' '.join(options.selectors)}")
    _check_target(options.target, options.metric)
    return options, rest


def _check_target(target: float | None, metric: str) -> None:
    if target is None:
        return
    if not math.isfinite(target):
        raise ValueError(f"`--target` must be a finite number, got {target}")
    if is_share(metric) and not 0 < target <= 1:
        way_out = f"; for {target:g} % give {target / 100:g}" if 1 < target <= 100 else ""
        raise ValueError(f"`--target` must be in (0, 1] for {metric}, got {target:g}{way_out}")


def compare(args: list[str]) -> int:
    """Run `dynsel compare`.

    Args:
        args: Its options.

    Returns:
        Exit code: 0, 1 if a run failed, 130 if interrupted.
    """
    try:
        options, rest = _parse(args)
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
    from rich.console import Console

    from dynsel.compare.run import Comparison, quiet
    from dynsel.trainer_cli import parse_selector

    for name in options.selectors:
        parse_selector(name)
    lightning_args = [word for file in options.config for word in ("--config", file)] + rest
    if options.keep_ratio is not None:
        lightning_args += ["--selection.keep_ratio", options.keep_ratio]
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file or pipe has no width of its own
    with quiet():
        comparison = Comparison(lightning_args, options.metric)
        seeds = [comparison.first_seed + i for i in range(options.seeds)]
        command = shlex.join(["dynsel", "compare", *args])
        plan = Plan(options.selectors, seeds, options.metric, options.out, command, options.target)
        store = Store(plan.out, comparison.settings())
        return _run(plan, store, comparison, console)


def _run(plan: Plan, store: Store, comparison: Comparison, console: Console) -> int:
    records = {run: store.load(*run) for run in plan.runs}
    missing = [run for run, record in records.items() if record is None]
    try:
        if missing:
            _train(plan, store, comparison, records, missing, console)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        console.print("interrupted; the same command goes on with the missing runs", style="bold")
        return 130
    finished = [record for record in records.values() if record is not None]
    rows = summarise(finished, metric=plan.metric, target=plan.target)
    _write_table(plan, store, rows)
    _print_table(plan, rows, console)
    _draw(plan, finished, comparison, console)
    return 1 if any(row.errors for row in rows) else 0


def _train(
    plan: Plan,
    store: Store,
    comparison: Comparison,
    records: dict[tuple[str, int], RunRecord | None],
    missing: list[tuple[str, int]],
    console: Console,
) -> None:
    if store.steps is None:
        store.begin(comparison.count_steps())
    steps = store.steps or 0
    kept = f", {len(plan.runs) - len(missing)} of them kept from before" if len(missing) < len(plan.runs) else ""
    console.print(f"{len(plan.runs)} runs of {steps:,} optimiser steps each{kept}", highlight=False)
    start = time.monotonic()
    for done, (name, seed) in enumerate(missing, start=1):
        label = f"[{done}/{len(missing)}] {name}, seed {seed}"
        with _status(console, label, steps, plan.metric) as progress:
            record = _attempt(comparison, store, name, seed, steps, progress)
        records[name, seed] = record
        elapsed = time.monotonic() - start
        remaining = elapsed / done * (len(missing) - done)
        value = value_text(record.value, plan.metric)
        result = record.error or f"{plan.metric} {value}, {record.seconds:.1f} s of training"
        console.print(
            f"{label}: {result}; elapsed {_clock(elapsed)}, remaining about {_clock(remaining)}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def _attempt(comparison: Comparison, store: Store, name: str, seed: int, steps: int, progress: Any) -> RunRecord:
    errors = store.path(name, seed).with_suffix(".error.txt")
    try:
        record = comparison.train(name, seed, steps, progress)
    except Exception as error:
        # The other runs go on; this one isn't kept, and so is tried again next time.
        write_atomically(errors, traceback.format_exc())
        said = (str(error).strip() or "no message").splitlines()[0]
        return RunRecord(name, seed, error=f"{type(error).__name__}: {said}")
    errors.unlink(missing_ok=True)
    store.save(record)
    return record


@contextmanager
def _status(console: Console, label: str, steps: int, metric: str) -> Iterator[Any]:
    """On a terminal a line that lives while the run does."""
    with console.status(f"{label}: training …") as status:

        def progress(point: CurvePoint) -> None:
            status.update(f"{label}: step {point.step:,} of {steps:,}, {metric} {value_text(point.value, metric)}")

        yield progress


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


# -------------------------------------------------------------------- results
def _write_table(plan: Plan, store: Store, rows: list[Row]) -> None:
    page = markdown(tables(rows, len(plan.seeds), plan.metric), _facts(plan, store.steps or 0, rows))
    write_atomically(plan.out / "table.md", page)
    write_atomically(plan.out / "results.csv", csv_text(rows, plan.metric))


def _facts(plan: Plan, steps: int, rows: list[Row]) -> list[tuple[str, str]]:
    from dynsel.compare.facts import hardware, meanings, today, versions

    compared = [name for name in BASELINES if any(name in row.versus for row in rows)]
    facts = [
        ("command", f"`{plan.command}`"),
        ("seeds", f"{', '.join(map(str, plan.seeds))} (n = {len(plan.seeds)})"),
        ("every run", f"{steps:,} optimiser steps; evaluated after the last one, not at the best"),
        *meanings(compared, target=plan.target is not None),
        ("hardware", hardware()),
        ("versions", versions()),
        ("date", today()),
    ]
    return facts + [(short, f"`{name}`") for name, short in _shortened(rows).items()]


def _shortened(rows: list[Row]) -> dict[str, str]:
    return {name: short for name, short in labels([row.selector for row in rows]).items() if short != name}


def _print_table(plan: Plan, rows: list[Row], console: Console) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for found in tables(rows, len(plan.seeds), plan.metric):
        table = Table(title=found.title, title_justify="left", box=box.SIMPLE_HEAD)
        for i, heading in enumerate(found.headings):
            # Only an error may need several lines.
            table.add_column(heading, justify="right" if i else "left", no_wrap=i != 1)
        for row in found.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for name, short in _shortened(rows).items():
        console.print(f"{short}: {name}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"{plan.out / 'table.md'}, {plan.out / 'results.csv'}", highlight=False, soft_wrap=True)


def _draw(plan: Plan, records: list[RunRecord], comparison: Comparison, console: Console) -> None:
    from dynsel.report import write_report

    done = [record for record in records if record.error is None]
    paths = write_report(done, plan.out, metric=plan.metric, dataset=comparison.train_dataset())
    console.print(", ".join(map(str, paths)), highlight=False, soft_wrap=True)
