"""`dynsel compare`: which runs are missing, train them, then tabulate and plot all."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynsel.commands._arguments import Parser, training_options, with_suggestion
from dynsel.compare.queue import EQUAL, Queue, equal_lengths
from dynsel.compare.table import is_share

if TYPE_CHECKING:
    from rich.console import Console

    from dynsel.compare.plan import Plan
    from dynsel.compare.record import RunRecord
    from dynsel.compare.run import Comparison
    from dynsel.compare.store import Store

__all__ = ["compare"]


def compare(args: list[str]) -> int:
    """Run `dynsel compare`.

    Args:
        args: Options as they stand on the command line.

    Returns:
        Exit code: 0, 1 if a run failed, 130 if interrupted.

    Raises:
        ValueError: If an option or an argument of a selector is wrong or unknown, or `--out` holds runs of another
            setting.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(args)
    _check(options)
    from dynsel._lib.console import open_console
    from dynsel._lib.outputs import check_output_folder
    from dynsel._lib.provenance import command_line
    from dynsel._lib.quiet import quiet
    from dynsel.compare.entry import parse_entry
    from dynsel.compare.run import Comparison  # before Lightning's notices are off: an import turns them on
    from dynsel.compare.store import Store

    check_output_folder("--out", options.out)
    for name in options.selectors:
        parse_entry(name)
    with quiet():
        try:
            command = command_line(["compare", *args])
            given = _lightning_args(options, rest)
            comparison = Comparison(
                given, options.metric, evaluations=options.evaluations, energy=options.energy, command=command
            )
        except argparse.ArgumentError as error:
            raise ValueError(with_suggestion(str(error), parser, training_options())) from error
        plan = _plan(options, comparison.first_seed, command)
        return _run(plan, Store(plan.out, comparison.settings()), comparison, open_console())


def _lightning_args(options: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    args = [word for file in options.config for word in ("--config", file)] + [*rest]
    args += [] if options.exclude is None else ["--exclude", options.exclude]
    return args if options.keep_ratio is None else [*args, "--selection.keep_ratio", options.keep_ratio]


def _plan(options: argparse.Namespace, first_seed: int, command: str) -> Plan:
    from dynsel.compare.plan import Plan

    return Plan(
        selectors=options.selectors,
        seeds=[first_seed + i for i in range(options.seeds)],
        metric=options.metric,
        out=options.out,
        command=command,
        target=options.target,
        equal=options.equal,
        energy=options.energy,
        beside=tuple(options.beside),
        worth=options.worth,
    )


def _run(plan: Plan, store: Store, comparison: Comparison, console: Console) -> int:
    from dynsel._lib.console import say
    from dynsel.commands._results import write_results
    from dynsel.compare.worth import LENGTHS

    queue = Queue(store, comparison, console, plan.metric)
    for sentence in comparison.check_options():
        say(console, sentence)
    try:
        if store.steps is None:
            steps = comparison.count_steps()
            comparison.check_metric(steps)
            store.begin(steps)
        beside = _beside(plan, store, comparison)
        lengths = comparison.budget_steps(plan.selectors, store.steps or 0)
        if lengths and plan.equal != "steps":
            raise ValueError(
                f"`budget` gives {next(iter(lengths))} its number of steps; it goes with `--equal steps`, "
                f"got `--equal {plan.equal}`"
            )
        records = queue.records(plan.runs(store, lengths))
        if plan.equal != "steps":
            records = queue.records(plan.runs(store, equal_lengths(records, plan.equal)))
        full = queue.records(plan.runs_of_full_data(store, LENGTHS)) if plan.worth else []
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        console.print("interrupted; the same command goes on with the missing runs", style="bold")
        return 130
    return write_results(plan, store, [*records, *beside], comparison, console, full)


def _beside(plan: Plan, store: Store, comparison: Comparison) -> list[RunRecord]:
    if not plan.beside:
        return []
    from dynsel.compare.beside import runs_beside

    dataset = comparison.train_dataset()
    count = None if dataset is None else len(dataset)
    return [run for folder in plan.beside for run in runs_beside(folder, store, plan.seeds, plan.equal, count)]


# -------------------------------------------------------------------- options
def _parser() -> Parser:
    parser = Parser("dynsel compare", "Train with several selectors and seeds at equal cost, and tabulate.")
    _add_runs(parser)
    _add_tables(parser)
    return parser


def _add_runs(parser: Parser) -> None:
    add = parser.add_argument
    add("--config", "-c", required=True, action="append", metavar="FILE", help="YAML file of the training; may repeat")
    add(
        "--selectors",
        nargs="+",
        default=["full", "random", "rrd"],
        metavar="NAME",
        help="short names or class paths, with arguments as in rrd:gamma=1,k=8, `budget` and `keep_ratio` "
        "among them (default: full random rrd)",
    )
    add("--seeds", type=int, default=3, metavar="N", help="number of seeds, from seed_everything on (default: 3)")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder for runs, table.md, results.csv, report.html and pictures",
    )
    add(
        "--equal",
        choices=tuple(EQUAL),
        default="steps",
        help="what is equal for all: optimiser steps (default), samples trained on, or time with selection",
    )
    add("--keep_ratio", metavar="RATIO", help="short for --selection.keep_ratio")
    add("--exclude", metavar="FILE", help="samples to leave out, as the suspects.csv of `dynsel findings`")


def _add_tables(parser: Parser) -> None:
    add = parser.add_argument
    add("--metric", default="val_accuracy", metavar="NAME", help="validation metric (default: val_accuracy)")
    add(
        "--evaluations",
        type=int,
        default=12,
        metavar="N",
        help="validations in the course of a run, the last after the last step; fewer take less time (default: 12)",
    )
    add(
        "--target",
        type=float,
        metavar="VALUE",
        help="how soon each selector reaches this value of the metric and holds it",
    )
    add(
        "--worth",
        action="store_true",
        help="also train full data for 0.4 to 1.4 times as long, and say which length each result is worth",
    )
    add(
        "--energy",
        action="store_true",
        help="measure joules where the GPU's or the CPU's counter can be read; needs zeus",
    )
    add(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="finished comparisons with other settings, as many steps and the same data, for the same tables",
    )


def _check(options: argparse.Namespace) -> None:
    if options.seeds < 1:
        raise ValueError(f"`--seeds` must be at least 1, got {options.seeds}")
    if options.evaluations < 1:
        raise ValueError(f"`--evaluations` must be at least 1, got {options.evaluations}")
    if len(set(options.selectors)) < len(options.selectors):
        raise ValueError(f"`--selectors` must name each selector once, got {' '.join(options.selectors)}")
    _check_target(options.target, options.metric)
    if len({folder.resolve().name for folder in options.beside}) < len(options.beside):
        raise ValueError(f"`--beside` must name folders of different names, got {' '.join(map(str, options.beside))}")
    if options.beside and options.equal == "samples":
        raise ValueError("`--beside` goes with `--equal steps` or `--equal seconds`, got `--equal samples`")


def _check_target(target: float | None, metric: str) -> None:
    if target is None:
        return
    if not math.isfinite(target):
        raise ValueError(f"`--target` must be a finite number, got {target}")
    if is_share(metric) and not 0 < target <= 1:
        way_out = f"; for {target:g} % give {target / 100:g}" if 1 < target <= 100 else ""
        raise ValueError(f"`--target` must be in (0, 1] for {metric}, got {target:g}{way_out}")
