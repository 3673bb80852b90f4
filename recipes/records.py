"""The table of records, from the run files of comparisons.

    python recipes/records.py add runs/cifar10-fast --name cifar10-fast-8 --setting "CIFAR-10, fast.yaml, 8 epochs"
    python recipes/records.py add runs/cifar10-ncfm-10 --name ... --setting ...    # an evaluation of a distilled set
    python recipes/records.py                                     # writes recipes/RECORDS.md anew from recipes/records/

`add` takes from every finished run of a `dynsel compare --out FOLDER` (or from the evaluation.json of `dynsel distill
evaluate`) what the table needs, as a small file that is committed. What that file has of other seeds and methods stays,
if it was trained with the same settings: so a comparison grows from machine to machine. No figure of the table is typed
by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dynsel._lib.tables import markdown_table
from dynsel.compare.entry import DEFAULTS, RANDOM, Configured, baselines_of, method_of
from dynsel.compare.record import ORIGIN, RunRecord, by_selector, distinct_origins
from dynsel.compare.stats import Difference, differences, half_width, lower_is_better
from dynsel.compare.store import Store
from dynsel.compare.store import differences as differences_of
from dynsel.compare.summary import Row, summarise
from dynsel.compare.table import is_share
from dynsel.compare.worth import Worth, worths

HERE = Path(__file__).parent
LEVEL = 0.01  # a record is beaten where p is below this
KEPT = ("selector", "seed", "value", "steps", "samples", "seconds", "selection_seconds", "logged", "origin")
# The beginning of an absolute path, as a word or as a value in one.
ABSOLUTE = re.compile(r"""(?<![\w.:/~-])/(?:[^/=,"']+/)*""")
HEAD = f"""# Records

Made by `python recipes/records.py` from the run files in [records/](records); no figure is typed by hand. Accuracies
are those after the last optimiser step, never the best; ± is half the 95 % confidence interval over n seeds (Student's
t); "vs" is the paired difference of runs with the same seed, with the p-value of its t-test after Holm's correction
for the number of methods. Worth: the result is what full data reaches in so many times the steps; in brackets all
lengths that a paired t-test does not tell from it (p > 0.05). Seconds are of training and selection, without
validation.

**The rule.** In each setting full data (or else random subsets) hold the first record; without either nobody does. A
method takes it if, in one comparison with the holder, it is better with p < {LEVEL:g} after Holm's correction. A test
needs two seeds, and so does a record. What beats nothing stands in the tables below all the same.

**What speaks against.** Gains shrink as schedules get longer: look at one network at several lengths. At equal time and
with a full decay of the learning rate, choosing inside the batch may gain nothing (No Train No Gain, arXiv:2307.06440).
Random subsets are hard to beat (DeepCore, arXiv:2204.08499), and at scale many selectors lose to them (RDS+,
arXiv:2503.01807).
"""


@dataclass(frozen=True)
class Comparison:
    """What a file in records/ holds.

    Attributes:
        name: Name of the file without its ending.
        setting: Data, network and length, in words; comparisons of the same one share a record.
        metric: Name of the metric.
        steps: Optimiser steps of the configured training.
        runs: Finished runs of that comparison.
        full: Runs of full data of all lengths.
        origin: For each of `ORIGIN` the different values of the runs.
        configured: How the configuration trains a method that says nothing of it.
    """

    name: str
    setting: str
    metric: str
    steps: int
    runs: list[RunRecord]
    full: list[RunRecord]
    origin: dict[str, list[str]]
    configured: Configured = DEFAULTS


# ---------------------------------------------------------------- run files
def of_comparison(folders: Sequence[Path], earlier: Path | None = None) -> dict[str, Any]:
    """What is kept of folders that `dynsel compare` wrote.

    Args:
        folders: Their `--out`; several are parts of one comparison, of other seeds or selectors.
        earlier: File that `add` wrote; its runs stay that none of the folders has. None, or a path at which nothing is,
            adds nothing.

    Raises:
        FileNotFoundError: If there is no finished run.
        ValueError: If the folders differ in their settings, runs of `earlier` would stay that had others, or the metric
            is no share of right answers.
    """
    stores = [Store.stored(folder) for folder in folders]
    runs = [run for store in stores for run in _runs(store)]
    if not runs:
        raise FileNotFoundError(f"{folders[0]} holds no finished run; first finish that comparison")
    if len({store.hash for store in stores}) > 1:
        said = differences_of(stores[0].settings, stores[1].settings)
        raise ValueError(f"folders of one comparison must have the same settings, got {said}")
    metric = stores[0].settings["metric"]
    if not is_share(metric) or lower_is_better(metric):
        raise ValueError(f"`metric` must be an accuracy, of which the page tells percents, got {metric!r}")
    digest = _digest({**stores[0].settings, "steps": stores[0].steps})
    if earlier is not None and earlier.exists():
        runs = _lacking(runs, earlier, digest) + runs
    configured = Configured.of(stores[0].settings)._asdict()
    head = {"metric": metric, "steps": stores[0].steps, "settings": digest, "configured": configured}
    return {**head, **_with_origins(runs)}


def _digest(settings: dict[str, Any]) -> str:
    """Settings in 16 letters, the same on every machine: of an absolute path the last part counts."""
    portable = {key: ABSOLUTE.sub("", value) if isinstance(value, str) else value for key, value in settings.items()}
    return hashlib.sha256(json.dumps(portable, sort_keys=True).encode()).hexdigest()[:16]


def _lacking(runs: list[dict[str, Any]], earlier: Path, digest: str) -> list[dict[str, Any]]:
    """The runs of a file that `add` wrote which aren't among `runs`, with their origins."""
    kept = json.loads(earlier.read_text())
    here = {(run["selector"], run["seed"], run["steps"]) for run in runs}
    others = [run for run in kept["runs"] if (run["selector"], run["seed"], run["steps"]) not in here]
    if others and kept.get("settings") != digest:
        told = "other settings" if "settings" in kept else "settings that it does not tell"
        raise ValueError(
            f"{earlier} holds {len(others)} runs of {told}, which the folders don't have; choose another --name, or "
            "delete that file"
        )
    return [{**run, "origin": kept["origins"][run["origin"]]} for run in others]


def _runs(store: Store) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted((store.folder / "runs").glob("*.json"))]
    runs = [{key: run[key] for key in KEPT if key in run} for run in found if run.get("settings") == store.hash]
    table = store.folder / "table.md"
    said = _facts(table.read_text()) if table.exists() else {}
    return [{**run, "origin": run.get("origin") or said} for run in runs]


def of_evaluation(folder: Path) -> dict[str, Any]:
    """What is kept of a folder in which `dynsel distill evaluate` evaluated a set.

    Args:
        folder: Its `--out`.
    """
    facts = json.loads((folder / "evaluation.json").read_text())
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    origin = {key: facts[key] for key in ORIGIN if key in facts} | {"versions": versions}
    runs = [
        {"selector": f"{result['set']}, {result['network']}", "seed": seed, "value": value, "origin": origin}
        for result in facts["results"]
        for seed, value in enumerate(result["last"])
    ]
    return {"metric": "accuracy", "steps": 0, **_with_origins(runs)}


def _facts(table: str) -> dict[str, str]:
    """The head of a table.md, for runs that don't tell their origin themselves."""
    lines = dict(re.findall(r"^- (\w+): (.*)$", table, re.MULTILINE))
    return {key: lines[key].strip("`") for key in ORIGIN if key in lines}


def _with_origins(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each origin once, and its number in every run."""
    origins: list[dict[str, str]] = []
    for run in runs:
        origin = {key: _for_others(text) if key == "command" else text for key, text in run["origin"].items()}
        if origin not in origins:
            origins.append(origin)
        run["origin"] = origins.index(origin)
    return {"origins": origins, "runs": runs}


def _for_others(command: str) -> str:
    """A command without the folders of the machine that it ran on: of an absolute path the last part stays."""
    return shlex.join(ABSOLUTE.sub("", word) for word in shlex.split(command))


def add(folders: Sequence[Path], name: str, setting: str, records: Path) -> Path:
    """Write what the table needs of a comparison into a small file, beside the other runs that the file has of it.

    Args:
        folders: Folders that `dynsel compare` wrote, or one of `dynsel distill evaluate`.
        name: Name of the file to write, without its ending.
        setting: Data, network and length, in words.
        records: Folder of these files.
    """
    path = records / f"{name}.json"
    evaluated = (folders[0] / "evaluation.json").exists()
    kept = of_evaluation(folders[0]) if evaluated else of_comparison(folders, path)
    runs = ",\n".join(f"  {json.dumps(run)}" for run in kept.pop("runs"))
    head = json.dumps({"setting": setting, **kept}, indent=1)
    records.mkdir(parents=True, exist_ok=True)
    path.write_text(head.removesuffix("\n}") + f',\n "runs": [\n{runs}\n ]\n}}\n')
    return path


def read(path: Path) -> Comparison:
    """A file that `add` wrote.

    Args:
        path: File in JSON.
    """
    found = json.loads(path.read_text())
    known = {field.name for field in fields(RunRecord)} - {"origin"}
    origins: list[dict[str, str]] = found["origins"]
    every = [
        replace(RunRecord(**{k: v for k, v in run.items() if k in known}), origin=origins[run["origin"]])
        for run in found["runs"]
    ]
    # Full data was also trained for other lengths; a selector with a budget of its own has that length alone.
    usual = {run.selector for run in every if run.steps == found["steps"]}
    runs = [run for run in every if run.selector not in usual or run.steps == found["steps"]]
    full = [run for run in every if run.selector == "full"]
    configured = Configured(**found.get("configured", {}))
    said = distinct_origins(origins)
    return Comparison(path.stem, found["setting"], found["metric"], found["steps"], runs, full, said, configured)


# ---------------------------------------------------------------- records
@dataclass(frozen=True)
class Record:
    """Who held the record of a setting, from when on, and against whom it was won."""

    comparison: Comparison
    selector: str
    beaten: str = ""
    difference: Difference | None = None


def records_of(comparisons: Sequence[Comparison]) -> list[Record]:
    """The holders of one setting's record, one after the other; none where no comparison has a first one.

    Args:
        comparisons: All comparisons of the setting, the oldest first.
    """
    held: list[Record] = []
    for comparison in comparisons:
        values = {name: {r.seed: r.value for r in runs} for name, runs in by_selector(comparison.runs).items()}
        holder = _named_here(held[-1], comparison) if held else _first_holder(comparison)
        if holder is None:
            continue
        held = held or [Record(comparison, holder)]
        against = differences(values, holder)
        better = {n: d for n, d in against.items() if d.mean > 0 and d.p_holm is not None and d.p_holm < LEVEL}
        if better:
            best = max(better, key=lambda name: better[name].mean)
            held.append(Record(comparison, best, held[-1].selector, better[best]))
    return held


def _first_holder(comparison: Comparison) -> str | None:
    """Full data, or else random subsets, if they have two seeds."""
    names = [name for name, runs in by_selector(comparison.runs).items() if len(runs) > 1]
    full = list(baselines_of(names, "full", comparison.configured).values())
    random = [name for name in names if method_of(name, comparison.configured).selector in RANDOM]
    return next(iter(full + random), None)


def _named_here(record: Record, comparison: Comparison) -> str | None:
    """What a comparison calls the method that holds a record, if it has it."""
    holder = method_of(record.selector, record.comparison.configured)
    names = by_selector(comparison.runs)
    return next((name for name in names if method_of(name, comparison.configured) == holder), None)


# ---------------------------------------------------------------- the page
def page(comparisons: Sequence[Comparison]) -> str:
    """RECORDS.md.

    Args:
        comparisons: All of them, the oldest first.
    """
    settings: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        settings.setdefault(comparison.setting, []).append(comparison)
    parts = [HEAD]
    if not settings:
        return HEAD + "\nNothing is recorded yet.\n"
    rows = [_record_row(record) for group in settings.values() for record in records_of(group)]
    headings = ("setting", "record", "accuracy %", "steps", "seconds", "n", "over", "by", "p", "date", "commit")
    parts.append("## Who holds the record\n\n" + markdown_table(headings, rows, left=2) + "\n")
    for setting, group in settings.items():
        parts.append(f"## {setting}\n")
        parts += [_section(comparison) for comparison in group]
    return "\n".join(parts)


def _record_row(record: Record) -> list[str]:
    runs = [run for run in record.comparison.runs if run.selector == record.selector]
    difference = record.difference
    return [
        record.comparison.setting,
        f"`{record.selector}`",
        _percent([run.value for run in runs]),
        f"{runs[0].steps:,}",
        f"{fmean(run.seconds for run in runs):,.0f}",
        str(len(runs)),
        f"`{record.beaten}`" if record.beaten else "",
        "" if difference is None else f"{100 * difference.mean:+.2f} ± {100 * (difference.ci95 or 0):.2f}",
        "" if difference is None else _p(difference.p_holm),
        ", ".join(record.comparison.origin["date"]),
        ", ".join(record.comparison.origin["commit"]) or "unknown",
    ]


def _section(comparison: Comparison) -> str:
    rows = summarise(comparison.runs, metric=comparison.metric, configured=comparison.configured)
    lengths = {run.steps for run in comparison.full}
    known: Mapping[str, Worth] = {}
    if len(lengths) > 1:
        known = worths(rows, comparison.runs, comparison.full, comparison.steps, "steps", comparison.metric).of
    flips = any("val_accuracy_flips" in run.logged for run in comparison.runs)
    headings = ["method", "accuracy %", "n", "vs random", "p", "", "vs full", "p", "steps", "seconds", "selection s"]
    headings += ["with test-time flips %"] * flips + ["worth"] * bool(known)
    cells = []
    for row in sorted(rows, key=lambda row: -(row.mean or 0)):
        runs = [run for run in comparison.runs if run.selector == row.selector]
        cells.append(_method(row, runs))
        cells[-1] += [_percent([run.logged.get("val_accuracy_flips", float("nan")) for run in runs])] * flips
        cells[-1] += ([known[row.selector].text()] if row.selector in known else [""]) * bool(known)
    facts = [f"- {key}: {'; '.join(_fact(key, text) for text in said)}" for key, said in comparison.origin.items()]
    return "\n".join([markdown_table(headings, cells), "", *(fact for fact in facts if not fact.endswith(": ")), ""])


def _method(row: Row, runs: Sequence[RunRecord]) -> list[str]:
    cells = [f"`{row.selector}`", _percent([run.value for run in runs]), str(row.n)]
    for baseline in ("random", "full"):
        difference = row.versus.get(baseline)
        cells += ["", ""] if difference is None else [_difference(difference), _p(difference.p_holm)]
        cells += [row.verdict] * (baseline == "random")
    return [*cells, f"{row.steps:,}", f"{row.seconds:,.0f}", f"{row.selection_seconds:,.1f}"]


def _fact(key: str, text: str) -> str:
    return f"`{text}`" if key in ("command", "commit") else text


def _percent(values: Sequence[float]) -> str:
    width = half_width(values)
    return f"{100 * fmean(values):.2f}" + ("" if width is None else f" ± {100 * width:.2f}")


def _difference(difference: Difference) -> str:
    width = "" if difference.ci95 is None else f" ± {100 * difference.ci95:.2f}"
    return f"{100 * difference.mean:+.2f}{width}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def main(words: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        words: Command line without the program's name; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=HERE / "records", help="folder of the small files")
    parser.add_argument("--page", type=Path, default=HERE / "RECORDS.md", help="page to write")
    commands = parser.add_subparsers(dest="command")
    adding = commands.add_parser("add", help="take the runs of a folder, then write the page")
    adding.add_argument("folder", type=Path, nargs="+", help="several are parts of one comparison, of other seeds")
    adding.add_argument("--name", required=True)
    adding.add_argument("--setting", required=True)
    options = parser.parse_args(words)
    if options.command == "add":
        print(add(options.folder, options.name, options.setting, options.records))
    found = [read(path) for path in sorted(options.records.glob("*.json"))]
    found.sort(key=lambda comparison: (comparison.origin["date"][:1], comparison.name))
    options.page.write_text(page(found))
    print(options.page)


if __name__ == "__main__":
    main()
