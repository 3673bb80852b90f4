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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dynsel._lib.files import write_atomically
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
KEPT = ("selector", "seed", "value", "steps", "samples", "seconds", "selection_seconds", "wrong_share", "logged")
# Settings that a machine decides; where the data lie is one of them if the class names the data set.
OF_MACHINE = ("trainer.accelerator", "threads")
ROOT = "data.init_args.root"
NAMED = ("dynsel.data.CIFAR10DataModule", "dynsel.data.cifar10.CIFAR10DataModule")
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
needs two seeds, and so does a record. The correction counts the methods of that comparison, so a wider one asks for
more. p doesn't know of seeds that were added after a look at the first; the pages that tell of a result say where that
was done. What beats nothing stands in the tables below all the same.

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
def of_comparison(folders: Sequence[Path]) -> dict[str, Any]:
    """What is kept of folders that `dynsel compare` wrote.

    Args:
        folders: Their `--out`; several are parts of one comparison, of other seeds or selectors.

    Raises:
        FileNotFoundError: If there is no finished run.
        ValueError: If the folders differ in their settings or have a run twice, a selector's arguments differ from run
            to run, or the metric is no share of right answers.
    """
    stores = [Store.stored(folder) for folder in folders]
    runs = [(*finished, _origin(finished[0], store)) for store in stores for finished in store.finished()]
    if not runs:
        raise FileNotFoundError(f"{folders[0]} holds no finished run; first finish that comparison")
    for store in stores[1:]:
        if _digest(store) != _digest(stores[0]):
            said = (
                differences_of(stores[0].settings, store.settings)
                or f"{stores[0].steps} steps there, {store.steps} now"
            )
            raise ValueError(f"folders of one comparison must have the same settings, got {said}")
    metric = stores[0].settings["metric"]
    if not is_share(metric) or lower_is_better(metric):
        raise ValueError(f"`metric` must be an accuracy, of which the page tells percents, got {metric!r}")
    seen: set[tuple[str, int, int]] = set()
    for run, length, _ in runs:
        if not 0 <= run.value <= 1:
            raise ValueError(f"{metric} must be in [0, 1], got {run.value!r} of {run.selector}, seed {run.seed}")
        if (key := (_for_others(run.selector), run.seed, length)) in seen:
            raise ValueError(f"{run.selector}, seed {run.seed} is in two folders; give each run once")
        seen.add(key)
    return {
        "metric": metric,
        "steps": stores[0].steps,
        "settings": _digest(stores[0]),
        "configured": Configured.of(stores[0].settings)._asdict(),
        "made_by": _one_each((_for_others(run.selector), _made_by(run)) for run, _, _ in runs),
        **_with_origins([{**_kept(run, length), "origin": origin} for run, length, origin in runs]),
    }


def _kept(run: RunRecord, length: int) -> dict[str, Any]:
    kept = {key: value for key in KEPT if (value := getattr(run, key)) is not None}
    given = {} if length == run.steps else {"length": length}
    return {**kept, "selector": _for_others(run.selector), **given}


def _made_by(run: RunRecord) -> dict[str, Any]:
    made_by: dict[str, Any] = json.loads(_for_others(json.dumps(run.made_by)))
    return made_by


def _which(run: Mapping[str, Any]) -> tuple[str, int, int]:
    """What of a run is there once: its selector, its seed and the optimiser steps that it was given."""
    return run["selector"], run["seed"], run.get("length", run.get("steps", 0))


def _origin(run: RunRecord, store: Store) -> dict[str, str]:
    table = store.folder / "table.md"
    return run.origin or (_facts(table.read_text()) if table.exists() else {})


def _digest(store: Store) -> str:
    """Settings and steps in 16 letters, the same on every machine."""
    dropped = {*OF_MACHINE, *((ROOT,) if store.settings.get("data.class_path") in NAMED else ())}
    told = {key: value for key, value in store.settings.items() if key not in dropped}
    # A file counts by its content, wherever it lies; any other path counts as it is written.
    files = {key.removeprefix("files."): value for key, value in told.items() if key.startswith("files.")}
    portable: dict[str, Any] = {
        key: files.get(value, value) if isinstance(value, str) else value
        for key, value in told.items()
        if not key.startswith("files.")
    }
    return hashlib.sha256(json.dumps([store.steps, portable], sort_keys=True).encode()).hexdigest()[:16]


def _one_each(made_by: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The arguments that the runs of each selector were made with.

    Raises:
        ValueError: If they differ from run to run.
    """
    found: dict[str, dict[str, Any]] = {}
    for selector, arguments in made_by:
        known = found.setdefault(selector, {})
        both = known.keys() & arguments.keys()  # what only one of them tells came or went with another version
        if differing := differences_of({key: known[key] for key in both}, {key: arguments[key] for key in both}):
            raise ValueError(f"runs of {selector} have other arguments ({differing}); keep them apart by --name")
        known.update(arguments)
    return {selector: arguments for selector, arguments in found.items() if arguments}


def with_earlier(kept: dict[str, Any], path: Path, setting: str) -> dict[str, Any]:
    """The runs of a file that `add` wrote, beside those of a comparison, which go before the same ones there.

    Args:
        kept: What `of_comparison` tells.
        path: That file.
        setting: Its setting, in words.

    Raises:
        ValueError: If it holds anything but runs of the same settings, or is of another setting.
    """
    earlier = _json(path)
    if earlier.get("settings") != kept["settings"]:
        told = "other settings" if "settings" in earlier else "settings that it doesn't tell"
        raise ValueError(f"{path} holds runs of {told}; choose another --name, or delete that file")
    if (there := earlier["setting"]) != setting:
        raise ValueError(f"{path} is of the setting {there!r}, got --setting {setting!r}")
    made_by = [*earlier.get("made_by", {}).items(), *kept["made_by"].items()]
    here = {_which(run) for run in kept["runs"]}
    others = [run for run in earlier["runs"] if _which(run) not in here]
    runs = [
        {**run, "origin": one["origins"][run["origin"]]}
        for one, runs in ((earlier, others), (kept, kept["runs"]))
        for run in runs
    ]
    return {**kept, "made_by": _one_each(made_by), **_with_origins(runs)}


def of_evaluation(folder: Path) -> dict[str, Any]:
    """What is kept of a folder in which `dynsel distill evaluate` evaluated a set.

    Args:
        folder: Its `--out`.
    """
    facts = _json(folder / "evaluation.json")
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    origin = {key: facts[key] for key in ORIGIN if key in facts} | {"versions": versions}
    runs = [
        {"selector": f"{result['set']}, {result['network']}", "seed": seed, "value": value, "origin": origin}
        for result in facts["results"]
        for seed, value in enumerate(result["last"])
    ]
    if not runs or not all(0 <= run["value"] <= 1 for run in runs):
        raise ValueError(f"{folder}: evaluation.json must hold accuracies in [0, 1], got {[r['value'] for r in runs]}")
    return {"metric": "accuracy", "steps": 0, **_with_origins(runs)}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__} where an object should be")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or delete it and add its runs again") from error
    return found


def _facts(table: str) -> dict[str, str]:
    """The head of a table.md, for runs that don't tell their origin themselves."""
    lines = dict(re.findall(r"^- (\w+): (.*)$", table, re.MULTILINE))
    return {key: lines[key].strip("`") for key in ORIGIN if key in lines}


def _with_origins(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each origin once, and its number in every run."""
    origins: list[dict[str, str]] = []
    for run in runs:
        origin = {key: _command(text) if key == "command" else text for key, text in run["origin"].items()}
        if origin not in origins:
            origins.append(origin)
        run["origin"] = origins.index(origin)
    return {"origins": origins, "runs": runs}


def _for_others(text: str) -> str:
    """A text without the folders of a machine: of an absolute path the last part stays."""
    return ABSOLUTE.sub("", text)


def _command(command: str) -> str:
    return shlex.join(map(_for_others, shlex.split(command)))


def add(folders: Sequence[Path], name: str, setting: str, records: Path) -> Path:
    """Write what the table needs of a comparison into a small file, beside the other runs that the file has of it.

    Args:
        folders: Folders that `dynsel compare` wrote, or one of `dynsel distill evaluate`.
        name: Name of the file to write, without its ending.
        setting: Data, network and length, in words.
        records: Folder of these files.

    Raises:
        FileNotFoundError: If a folder holds nothing finished.
        ValueError: If the folders, the file that is there, or the names don't fit together.
    """
    if not re.fullmatch(r"\w[\w.-]*", name) or name.endswith(".json"):
        raise ValueError(f"--name must be letters, digits, '-', '_' and '.', without the ending .json, got {name!r}")
    if not setting.strip() or setting != " ".join(setting.split()):
        raise ValueError(f"--setting must be words in one line, got {setting!r}")
    path = records / f"{name}.json"
    if any((folder / "evaluation.json").exists() for folder in folders):
        if len(folders) > 1 or path.exists():
            raise ValueError(f"an evaluation of a distilled set has a file of its own; {path} must not be there yet")
        kept = of_evaluation(folders[0])
    else:
        kept = of_comparison(folders)
        if path.exists():
            kept = with_earlier(kept, path, setting)
    runs = ",\n".join(f"  {json.dumps(run)}" for run in kept.pop("runs"))
    head = json.dumps({"setting": setting, **kept}, indent=1)
    write_atomically(path, head.removesuffix("\n}") + f',\n "runs": [\n{runs}\n ]\n}}\n')
    return path


def read(path: Path) -> Comparison:
    """A file that `add` wrote.

    Args:
        path: File in JSON.
    """
    found = _json(path)
    try:
        return _comparison(path.stem, found)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); restore it, or delete it and add its runs again") from error


def _comparison(name: str, found: dict[str, Any]) -> Comparison:
    known = {field.name for field in fields(RunRecord)} - {"origin"}
    origins: list[dict[str, str]] = found["origins"]
    every = [
        (
            replace(RunRecord(**{k: v for k, v in run.items() if k in known}), origin=origins[run["origin"]]),
            _which(run)[2],
        )
        for run in found["runs"]
    ]
    # Full data was also trained for other lengths; a selector with a budget of its own has that length alone.
    usual = {"full"} | {run.selector for run, length in every if length == found["steps"]}
    runs = [run for run, length in every if run.selector not in usual or length == found["steps"]]
    full = [run for run, _ in every if run.selector == "full"]
    configured = Configured(**found.get("configured", {}))
    said = distinct_origins(origins)
    return Comparison(name, found["setting"], found["metric"], found["steps"], runs, full, said, configured)


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
    # Means of different seeds don't compare; what is above random subsets of the same seeds does.
    means = {row.selector: row.mean or 0.0 for row in rows}
    random = baselines_of(list(means), "random", comparison.configured)

    def place(row: Row) -> float:
        versus = row.versus.get("random")
        return means[row.selector] if versus is None else means[random[row.selector]] + versus.mean

    for row in sorted(rows, key=place, reverse=True):
        runs = [run for run in comparison.runs if run.selector == row.selector]
        cells.append(_method(row, runs))
        cells[-1] += [_percent([run.logged.get("val_accuracy_flips", float("nan")) for run in runs])] * flips
        cells[-1] += ([known[row.selector].text()] if row.selector in known else [""]) * bool(known)
    facts = [f"- {key}: {'; '.join(_fact(key, text) for text in said)}" for key, said in comparison.origin.items()]
    file = f"[{comparison.name}](records/{comparison.name}.json)\n"
    return "\n".join(
        [file, markdown_table(headings, cells), "", *(fact for fact in facts if not fact.endswith(": ")), ""]
    )


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
    parser = argparse.ArgumentParser(
        prog="records.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=HERE / "records", help="folder of the small files")
    parser.add_argument("--page", type=Path, default=HERE / "RECORDS.md", help="page to write")
    commands = parser.add_subparsers(dest="command")
    adding = commands.add_parser("add", help="take the runs of a folder, then write the page")
    adding.add_argument("folder", type=Path, nargs="+", help="several are parts of one comparison, of other seeds")
    adding.add_argument("--name", required=True, help="of the file in --records, without its ending")
    adding.add_argument("--setting", required=True, help="data, network and length, in words")
    options = parser.parse_args(words)
    if options.page.is_dir() or not options.page.parent.is_dir():
        parser.error(f"--page must be a file in a folder that is there, got {options.page}")
    try:
        if options.command == "add":
            print(add(options.folder, options.name, options.setting, options.records))
        elif not options.records.is_dir():
            raise FileNotFoundError(f"--records must be a folder, got {options.records}")
        found = [read(path) for path in sorted(options.records.glob("*.json"))]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found.sort(key=lambda comparison: (comparison.origin["date"][:1], comparison.name))
    options.page.write_text(page(found))
    print(options.page)


if __name__ == "__main__":
    main()
