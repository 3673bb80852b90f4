"""The small files of recipes/records/: what the table of records needs of the run files of a comparison."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dynsel._lib.files import write_atomically
from dynsel.compare.entry import DEFAULTS, Configured
from dynsel.compare.record import ORIGIN, RunRecord, distinct_origins
from dynsel.compare.stats import lower_is_better
from dynsel.compare.store import Store, check_record
from dynsel.compare.store import differences as differences_of
from dynsel.compare.table import is_share

KEPT = ("selector", "seed", "value", "steps", "samples", "seconds", "selection_seconds", "wrong_share", "logged")
# Settings that a machine decides; where the data lie is one of them if the class names the data set.
OF_MACHINE = ("trainer.accelerator", "threads")
ROOT = "data.init_args.root"
NAMED = ("dynsel.data.CIFAR10DataModule", "dynsel.data.cifar10.CIFAR10DataModule")
# The beginning of an absolute path, as a word or as a value in one.
ABSOLUTE = re.compile(r"""(?<![\w.:/~-])/(?:[^/=,"']+/)*""")


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
        made_by: Arguments of the methods by name, defaults included, where the runs tell them.
        training: Model, data and Trainer in 16 letters, the same on every machine; empty in files of before.
    """

    name: str
    setting: str
    metric: str
    steps: int
    runs: list[RunRecord]
    full: list[RunRecord]
    origin: dict[str, list[str]]
    configured: Configured = DEFAULTS
    made_by: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training: str = ""


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
        "training": _digest(stores[0], of_selection=False),
        "configured": Configured.of(stores[0].settings)._asdict(),
        "made_by": one_each((_for_others(run.selector), _made_by(run)) for run, _, _ in runs),
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


def _digest(store: Store, *, of_selection: bool = True) -> str:
    """Settings and steps in 16 letters, the same on every machine; those of the selection can be left out."""
    dropped = {*OF_MACHINE, *((ROOT,) if store.settings.get("data.class_path") in NAMED else ())}
    told = {
        key: value
        for key, value in store.settings.items()
        if key not in dropped and (of_selection or not key.startswith("selection."))
    }
    # A file counts by its content, wherever it lies; any other path counts as it is written.
    files = {key.removeprefix("files."): value for key, value in told.items() if key.startswith("files.")}
    portable: dict[str, Any] = {
        key: files.get(value, value) if isinstance(value, str) else value
        for key, value in told.items()
        if not key.startswith("files.")
    }
    return hashlib.sha256(json.dumps([store.steps, portable], sort_keys=True).encode()).hexdigest()[:16]


def one_each(
    made_by: Iterable[tuple[str, Mapping[str, Any]]], way_out: str = "keep them apart by --name"
) -> dict[str, dict[str, Any]]:
    """The arguments that the runs of each selector were made with.

    Args:
        made_by: Arguments by name, of each run's selector.
        way_out: Ends the error.

    Raises:
        ValueError: If they differ from run to run.
    """
    found: dict[str, dict[str, Any]] = {}
    for selector, arguments in made_by:
        known = found.setdefault(selector, {})
        both = known.keys() & arguments.keys()  # what only one of them tells came or went with another version
        if differing := differences_of({key: known[key] for key in both}, {key: arguments[key] for key in both}):
            raise ValueError(f"runs of {selector} have other arguments ({differing}); {way_out}")
        known.update(arguments)
    return {selector: arguments for selector, arguments in found.items() if arguments}


def with_earlier(kept: dict[str, Any], path: Path, setting: str) -> dict[str, Any]:
    """The runs of a file that `write` wrote, beside those of a comparison, which go before the same ones there.

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
    return {**kept, "made_by": one_each(made_by), **_with_origins(runs)}


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


def _is_of_evaluation(path: Path, setting: str) -> bool:
    earlier = _json(path)
    return "settings" not in earlier and earlier.get("setting") == setting


def _check_machines(kept: Mapping[str, Any]) -> None:
    """Refuse runs of one seed that are of several kinds of machine: they would be compared as if they were of one."""
    seen: dict[int, str] = {}
    for run in kept["runs"]:
        hardware = kept["origins"][run["origin"]].get("hardware")
        if hardware is not None and (first := seen.setdefault(run["seed"], hardware)) != hardware:
            raise ValueError(
                f"runs of seed {run['seed']} are of several kinds of machine, {first} and {hardware}, and from one to "
                "another a seed's result moves; keep them apart by --name"
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__} where an object should be")
    except ValueError as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: object) -> ValueError:
    return ValueError(f"{path} is damaged ({error}); restore it, or delete it and add its runs again")


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


def content(folders: Sequence[Path], name: str, setting: str, records: Path) -> tuple[Path, dict[str, Any]]:
    """What the table needs of a comparison, beside the other runs that its file has of it.

    An evaluation of a distilled set takes the place of an earlier one.

    Args:
        folders: Folders that `dynsel compare` wrote, or one of `dynsel distill evaluate`.
        name: Name of the file, without its ending.
        setting: Data, network and length, in words.
        records: Folder of these files.

    Returns:
        The file, and what is to stand in it.

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
        if len(folders) > 1 or (path.exists() and not _is_of_evaluation(path, setting)):
            raise ValueError(f"an evaluation of a distilled set has a file of its own; choose another one than {path}")
        kept = of_evaluation(folders[0])
    else:
        kept = of_comparison(folders)
        if path.exists():
            kept = with_earlier(kept, path, setting)
    return path, {"setting": setting, **kept}


def write(path: Path, kept: Mapping[str, Any]) -> None:
    """Write such a file, a line for each run.

    Args:
        path: File to write.
        kept: What `content` gave.
    """
    runs = ",\n".join(f"  {json.dumps(run)}" for run in kept["runs"])
    head = json.dumps({key: value for key, value in kept.items() if key != "runs"}, indent=1)
    write_atomically(path, head.removesuffix("\n}") + f',\n "runs": [\n{runs}\n ]\n}}\n')


def read(path: Path) -> Comparison:
    """A file that `write` wrote.

    Args:
        path: File in JSON.
    """
    found = _json(path)
    try:
        return as_comparison(path.stem, found)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, repr(error)) from error


def as_comparison(name: str, found: Mapping[str, Any]) -> Comparison:
    """The comparison of such a file.

    Args:
        name: Name of the file, without its ending.
        found: What stands in it.

    Raises:
        TypeError: If a part is of another type; one that is missing may raise other errors.
        ValueError: If the runs of a seed are of several kinds of machine.
    """
    known = {field.name for field in fields(RunRecord)} - {"origin"}
    origins: list[dict[str, str]] = found["origins"]
    if not all(isinstance(text, str) for text in (found["setting"], *(t for one in origins for t in one.values()))):
        raise TypeError("`setting` and `origins` must be texts")
    if not all(0 <= run["origin"] < len(origins) and ("steps" in run or found["steps"] == 0) for run in found["runs"]):
        raise TypeError("each run must have its steps and the number of its origin")
    if len({_which(run) for run in found["runs"]}) < len(found["runs"]):
        raise TypeError("a run stands there twice")
    every = [
        (
            replace(RunRecord(**{k: v for k, v in run.items() if k in known}), origin=origins[run["origin"]]),
            _which(run)[2],
        )
        for run in found["runs"]
    ]
    for run, _ in every:
        check_record(run)
    if not all(isinstance(run.value, float) and 0 <= run.value <= 1 for run, _ in every):
        raise TypeError("each run must have a value in [0, 1]")
    _check_machines(found)
    # Full data was also trained for other lengths; a selector with a budget of its own has that length alone.
    usual = {"full"} | {run.selector for run, length in every if length == found["steps"]}
    runs = [run for run, length in every if run.selector not in usual or length == found["steps"]]
    full = [run for run, _ in every if run.selector == "full"]
    configured = Configured(**found.get("configured", {}))
    said = distinct_origins(origins)
    made_by = {selector: dict(arguments) for selector, arguments in found.get("made_by", {}).items()}
    training = found.get("training", "")
    steps = found["steps"]
    return Comparison(name, found["setting"], found["metric"], steps, runs, full, said, configured, made_by, training)
