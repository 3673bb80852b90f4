"""The command: which runs are missing, train them, tabulate and plot all."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dynsel._lib.files import write_atomically
from dynsel.commands._arguments import Parser
from dynsel.compare.beside import runs_beside
from dynsel.compare.queue import EQUAL, Queue, Run, equal_lengths
from dynsel.compare.record import RunRecord
from dynsel.compare.store import Store, differences
from dynsel.compare.summary import BASELINES, Row, summarise
from dynsel.compare.table import Table, csv_text, is_share, labels, markdown, tables

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from dynsel.compare.run import Comparison

__all__ = ["compare"]

EPILOG = """\
Every run takes the optimiser steps that the full data set takes in the configured training, starts from the weights
that its seed gives, and is evaluated after its last step. With --equal seconds or samples the runs at equal steps come
first and say how many steps each selector gets; results are then in a folder of that name in --out. Further options
override the configuration, as in --trainer.max_epochs 5 or --selection.selector.gamma 0.5. A run that is finished is
kept in --out: a comparison that was stopped goes on where it was, and more seeds or selectors can be added later. The
same command, called by several processes at once, shares the runs among them. report.html is all results on one page
that needs no other file; each of its pictures is also in --out, as PNG, with its numbers as CSV.
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
    equal: str = "steps"
    energy: bool = False
    beside: tuple[Path, ...] = ()

    @property
    def results(self) -> Path:
        """Where table and pictures go."""
        return self.out if self.equal == "steps" else self.out / f"equal-{self.equal}"

    def runs(self, store: Store, lengths: Mapping[str, int] = MappingProxyType({})) -> list[Run]:
        """Every selector with every seed; a seed's runs in a row, so that early rows can be paired.

        Args:
            store: Knows the steps of the configured training.
            lengths: Steps of selectors that take others.
        """
        steps = store.steps or 0
        return [Run(name, seed, lengths.get(name, steps)) for seed in self.seeds for name in self.selectors]


def _parse(args: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser("dynsel compare", "Train with several selectors and seeds at equal cost, and tabulate.", EPILOG)
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
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where runs, table.md, results.csv, report.html and pictures go",
    )
    parser.add_argument(
        "--equal",
        choices=tuple(EQUAL),
        default="steps",
        help="what is equal for all: optimiser steps (default), samples trained on, or time with selection",
    )
    parser.add_argument("--keep-ratio", metavar="RATIO", help="short for --selection.keep_ratio")
    parser.add_argument(
        "--metric", default="val_accuracy", metavar="NAME", help="validation metric (default: val_accuracy)"
    )
    parser.add_argument(
        "--target", type=float, metavar="VALUE", help="how soon each selector reaches and holds this metric, as in 0.76"
    )
    parser.add_argument(
        "--energy",
        action="store_true",
        help="measure the energy of training and selection, where the GPU's counter or the CPU's (RAPL) can be read; "
        "needs the library zeus: pip install 'dynsel[energy]'",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="finished comparisons, by their --out, whose runs stand in the same tables: as many steps on the "
        "same data, with other settings",
    )
    options, rest = parser.parse_known_args(args)
    if options.seeds < 1:
        raise ValueError(f"`--seeds` must be at least 1, got {options.seeds}")
    if len(set(options.selectors)) < len(options.selectors):
        raise ValueError(f"`--selectors` must name each selector once, got {' '.join(options.selectors)}")
    _check_target(options.target, options.metric)
    if len({folder.resolve().name for folder in options.beside}) < len(options.beside):
        raise ValueError(f"`--beside` must name folders of different names, got {' '.join(map(str, options.beside))}")
    if options.beside and options.equal == "samples":
        raise ValueError("`--beside` goes with `--equal steps` or `--equal seconds`, got `--equal samples`")
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

    from dynsel._lib.quiet import quiet
    from dynsel.compare.run import Comparison
    from dynsel.selectors.spec import parse_selector

    for name in options.selectors:
        parse_selector(name)
    lightning_args = [word for file in options.config for word in ("--config", file)] + rest
    if options.keep_ratio is not None:
        lightning_args += ["--selection.keep_ratio", options.keep_ratio]
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file or pipe has no width of its own
    with quiet():
        comparison = Comparison(lightning_args, options.metric, energy=options.energy)
        seeds = [comparison.first_seed + i for i in range(options.seeds)]
        command = shlex.join(["dynsel", "compare", *args])
        plan = Plan(
            options.selectors,
            seeds,
            options.metric,
            options.out,
            command,
            options.target,
            options.equal,
            options.energy,
            tuple(options.beside),
        )
        store = Store(plan.out, comparison.settings())
        return _run(plan, store, comparison, console)


def _run(plan: Plan, store: Store, comparison: Comparison, console: Console) -> int:
    queue = Queue(store, comparison, console, plan.metric)
    try:
        if store.steps is None:
            store.begin(comparison.count_steps())
        beside = _beside(plan, store, comparison)
        records = queue.records(plan.runs(store))
        if plan.equal != "steps":
            records = queue.records(plan.runs(store, equal_lengths(records, plan.equal)))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        console.print("interrupted; the same command goes on with the missing runs", style="bold")
        return 130
    return _tell(plan, store, [*records, *beside], comparison, console)


def _beside(plan: Plan, store: Store, comparison: Comparison) -> list[RunRecord]:
    if not plan.beside:
        return []
    dataset = comparison.train_dataset()
    count = None if dataset is None else len(dataset)
    return [run for folder in plan.beside for run in runs_beside(folder, store, plan.seeds, plan.equal, count)]


# -------------------------------------------------------------------- results
def _tell(plan: Plan, store: Store, records: list[RunRecord], comparison: Comparison, console: Console) -> int:
    """Write and print tables, write the report; returns the exit code."""
    from dynsel.compare.report import write_report

    rows = summarise(records, metric=plan.metric, target=plan.target)
    device = comparison.device() if plan.energy else None
    allowed = store.steps if plan.equal == "seconds" else None
    found = tables(rows, len(plan.seeds), plan.metric, _energy_of(rows, device), allowed)
    facts, meanings = _facts(plan, store, rows, device), _meanings(plan, rows)
    write_atomically(plan.results / "table.md", markdown(found, [*facts, *meanings]))
    write_atomically(plan.results / "results.csv", csv_text(rows, plan.metric))
    _print_tables(plan, found, rows, console)
    paths = write_report(
        records,
        plan.results,
        metric=plan.metric,
        dataset=comparison.train_dataset(),
        tables=found,
        facts=facts,
        meanings=meanings,
    )
    console.print(", ".join(map(str, paths)), highlight=False, soft_wrap=True)
    return 1 if any(row.errors for row in rows) else 0


def _energy_of(rows: list[Row], device: torch.device | None) -> list[str]:
    """Whose energy the tables tell."""
    if device is None:
        return []
    gpu = device.type == "cuda" or any(row.gpu_joules is not None for row in rows)
    return ["GPU", "CPU"] if gpu else ["CPU"]


def _facts(plan: Plan, store: Store, rows: list[Row], device: torch.device | None) -> list[tuple[str, str]]:
    from dynsel.compare.facts import hardware, not_measured, today, versions

    facts = [
        ("command", f"`{plan.command}`"),
        ("seeds", f"{', '.join(map(str, plan.seeds))} (n = {len(plan.seeds)})"),
        ("every run", f"{EQUAL[plan.equal].format(steps=store.steps)}; evaluated after the last one, not at the best"),
        ("hardware", hardware()),
        ("versions", versions()),
        ("date", today()),
    ]
    for folder in plan.beside:
        other = differences(Store.stored(folder).settings, store.settings, shown=20) or "the same settings"
        facts.append((folder.resolve().name, f"from {folder}, whose table.md says on what hardware; {other}"))
    parts = [f"{part.lower()}_joules" for part in _energy_of(rows, device)]
    if device is not None and any(getattr(row, part) is None for row in rows if row.n for part in parts):
        facts.append(("energy not measured", not_measured(device)))
    return facts + [(short, f"`{name}`") for name, short in _shortened(rows).items()]


def _meanings(plan: Plan, rows: list[Row]) -> list[tuple[str, str]]:
    from dynsel.compare.facts import meanings

    return meanings(
        [name for name in BASELINES if any(name in row.versus for row in rows)],
        target=plan.target is not None,
        wrong=any(row.wrong_share is not None for row in rows),
        energy=plan.energy,
    )


def _shortened(rows: list[Row]) -> dict[str, str]:
    return {name: short for name, short in labels([row.selector for row in rows]).items() if short != name}


def _print_tables(plan: Plan, found: list[Table], rows: list[Row], console: Console) -> None:
    from rich import box
    from rich import table as rich
    from rich.markup import escape

    for one in found:
        table = rich.Table(title=one.title, title_justify="left", box=box.SIMPLE_HEAD)
        for i, heading in enumerate(one.headings):
            # Only an error may need several lines; two of them make headings narrow.
            heading = heading.replace("of which ", "of which\n").replace("of time ", "of time\n")
            table.add_column(heading, justify="right" if i else "left", no_wrap=i != 1)
        for row in one.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for name, short in _shortened(rows).items():
        console.print(f"{short}: {name}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"{plan.results / 'table.md'}, {plan.results / 'results.csv'}", highlight=False, soft_wrap=True)
