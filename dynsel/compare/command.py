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
from typing import TYPE_CHECKING, Any, NoReturn

from dynsel.compare.record import CurvePoint, RunRecord
from dynsel.compare.store import Store, write_atomically
from dynsel.compare.table import Row, cells, csv_text, headings, is_share, markdown, summarise

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

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Every selector with every seed; a seed's runs in a row, so that early rows can be paired."""
        return [(name, seed) for seed in self.seeds for name in self.selectors]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parse(args: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(
        "dynsel compare",
        description="Train with several selectors and seeds at equal optimiser steps, and tabulate.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    options, rest = parser.parse_known_args(args)
    if options.seeds < 1:
        raise ValueError(f"`--seeds` must be at least 1, got {options.seeds}")
    if len(set(options.selectors)) < len(options.selectors):
        raise ValueError(f"`--selectors` must name each selector once, got {' '.join(options.selectors)}")
    return options, rest


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
        plan = Plan(options.selectors, seeds, options.metric, options.out, command)
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
    rows = summarise(finished)
    _write_table(plan, store, rows)
    _print_table(plan, rows, console)
    _draw(plan, finished, comparison, console, fresh=bool(missing))
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
        result = (
            record.error or f"{plan.metric} {_value(record.value, plan.metric)}, {record.seconds:.1f} s of training"
        )
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
            status.update(f"{label}: step {point.step:,} of {steps:,}, {metric} {_value(point.value, metric)}")

        yield progress


def _value(value: float, metric: str) -> str:
    return f"{100 * value:.2f} %" if is_share(metric) else f"{value:.4f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


# -------------------------------------------------------------------- results
def _write_table(plan: Plan, store: Store, rows: list[Row]) -> None:
    from dynsel.compare.facts import hardware, today, versions

    n = len(plan.seeds)
    spread = "mean ± sample standard deviation over seeds" if n > 1 else "n = 1, no spread"
    facts = [
        ("command", f"`{plan.command}`"),
        ("seeds", f"{', '.join(map(str, plan.seeds))} (n = {n}); {spread}"),
        ("every run", f"{store.steps:,} optimiser steps; evaluated after the last one, not at the best"),
        ("vs random", "mean difference of runs with the same seed, hence with the same initial weights"),
        ("wall-clock", "training and selection, without validation and loading of the data"),
        ("hardware", hardware()),
        ("versions", versions()),
        ("date", today()),
    ]
    write_atomically(plan.out / "table.md", markdown(rows, n, plan.metric, facts))
    write_atomically(plan.out / "results.csv", csv_text(rows, plan.metric))


def _print_table(plan: Plan, rows: list[Row], console: Console) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    n = len(plan.seeds)
    title = f"n = {n}: mean ± sample standard deviation" if n > 1 else "n = 1, no spread"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, heading in enumerate(headings(plan.metric)):
        # Only an error may need several lines.
        table.add_column(heading, justify="right" if i else "left", no_wrap=i != 1)
    for row in rows:
        table.add_row(*map(escape, cells(row, n, plan.metric)))
    console.print(table)
    console.print(f"{plan.out / 'table.md'}, {plan.out / 'results.csv'}", highlight=False, soft_wrap=True)


def _draw(plan: Plan, records: list[RunRecord], comparison: Comparison, console: Console, fresh: bool) -> None:
    if not fresh and (plan.out / "accuracy.png").exists():
        return
    from dynsel.report import write_report

    done = [record for record in records if record.error is None]
    paths = write_report(done, plan.out, metric=plan.metric, dataset=comparison.train_dataset())
    console.print(", ".join(map(str, paths)), highlight=False, soft_wrap=True)
