"""Finished runs on disk, so that a killed comparison continues with the missing ones."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dynsel._lib.files import only_writer, write_atomically
from dynsel._lib.provenance import package_version
from dynsel.compare.record import CurvePoint, RunRecord

__all__ = ["Store", "check_record", "differences", "file_name", "flatten"]

Settings = dict[str, Any]


class Store:
    """The folder of one comparison: `settings.json`, and one file per finished run in `runs/`.

    Args:
        folder: Folder of the comparison, which the first file creates.
        settings: Everything that decides the outcome of a run besides selector and seed: plain JSON values.

    Raises:
        ValueError: If the folder holds runs of other settings, or of other steps than it says.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = flatten(settings)
        self.hash = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]
        self.steps: int | None = None
        self._told_of: set[str] = set()
        self._compare_with_stored()

    @classmethod
    def stored(cls, folder: Path) -> Store:
        """The folder of a comparison that was begun, with the settings it has.

        Args:
            folder: The `--out` of that comparison.

        Raises:
            FileNotFoundError: If the folder holds no comparison.
        """
        try:
            return cls(folder, _settings(folder / "settings.json")["settings"])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{folder} holds no comparison: there is no settings.json in it") from error

    def _compare_with_stored(self) -> None:
        try:
            stored = _settings(self.folder / "settings.json")
        except FileNotFoundError:
            return
        if stored["hash"] != self.hash:
            raise ValueError(
                f"{self.folder} holds runs of other settings ({differences(stored['settings'], self.settings)}); "
                "choose another folder by --out, or delete this one"
            )
        self.steps = stored["steps"]
        lengths = {length for path in self._runs() if (length := self._told_length(path)) is not None}
        if lengths and self.steps not in lengths:
            told = ", ".join(f"{length:,}" for length in sorted(lengths))
            raise ValueError(
                f"{self.folder / 'settings.json'} says {self.steps:,} optimiser steps, its runs were given {told}: one "
                "of the two was changed; delete settings.json, and the same command counts anew, or delete runs/"
            )

    def _runs(self) -> list[Path]:
        """Files of the runs of as many steps as `begin` said."""
        paths = sorted((self.folder / "runs").glob("*.json"))
        return [path for path in paths if not re.search(r"-seed-?\d+-\d+steps$", path.stem)]

    def _told_length(self, path: Path) -> int | None:
        """Optimiser steps that a run was given; None if it is damaged, of other settings or of an older version."""
        try:
            stored = _json(path)
        except (OSError, RecursionError, ValueError):
            return None
        length = stored.get("length")
        return length if stored.get("settings") == self.hash and type(length) is int else None

    def begin(self, steps: int) -> None:
        """Write the settings down, unless another process that began at the same time has just done so.

        Args:
            steps: Number of optimiser steps of every run.

        Raises:
            ValueError: If that one has other settings.
        """
        path = self.folder / "settings.json"
        with only_writer(path):
            self._compare_with_stored()
            if self.steps is None:
                self.steps = steps
                found = {"hash": self.hash, "steps": steps, "settings": self.settings}
                write_atomically(path, json.dumps(found, indent=1))

    def path(self, selector: str, seed: int, steps: int | None = None) -> Path:
        """File of a run.

        Args:
            selector: Name of the selector.
            seed: Seed for weights, order and selection.
            steps: Number of optimiser steps; None takes that of `begin`.
        """
        length = "" if steps in (None, self.steps) else f"-{steps}steps"
        return self.folder / "runs" / f"{file_name(selector)}-seed{seed}{length}.json"

    def lengths(self) -> dict[str, int]:
        """Optimiser steps of each selector that has a finished run, in the order of the files.

        They are those of `begin`, unless the selector has no run of that length, as with a budget of its own.
        """
        found: dict[str, int] = {}
        for record, _ in self.finished():
            if found.get(record.selector) != self.steps:
                found[record.selector] = record.steps
        return found

    def finished(self) -> list[tuple[RunRecord, int]]:
        """Every finished run of these settings and the optimiser steps it was given, in the order of the files.

        It may have taken more: one that steps several optimisers at once can overshoot. Of a damaged one it is said.
        """
        found = map(self._read, sorted((self.folder / "runs").glob("*.json")))
        return [finished for finished in found if finished is not None]

    def load(
        self,
        selector: str,
        seed: int,
        steps: int | None = None,
        made_by: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunRecord | None:
        """A finished run, or None if there is none (or one of other settings, copied here).

        Of a file that is damaged or of another version, and of a selector that had other arguments, it is said once
        that the run is trained again; of runs of another dynsel that they are kept.

        Args:
            selector: Name of the selector.
            seed: Seed of the run.
            steps: Number of optimiser steps; None takes that of `begin`.
            made_by: What the run's `made_by` must agree with; what only one of them has came or went with another
                version.
        """
        finished = self._read(self.path(selector, seed, steps))
        if finished is None:
            return None
        record, _ = finished
        there = {key: value for key, value in record.made_by.items() if key in made_by}
        if differing := differences(there, {key: made_by[key] for key in there}):
            self._say_once(selector, f"runs of {selector} had other arguments ({differing}): they are trained again")
            return None
        theirs = record.origin.get("versions", "").partition(",")[0]
        if theirs.startswith("dynsel ") and theirs != (ours := f"dynsel {package_version('dynsel')}"):
            said = f"{self.folder} holds runs of {theirs}, which are kept; another --out has those of {ours} alone"
            self._say_once(theirs, said)
        return record

    def _read(self, path: Path) -> tuple[RunRecord, int] | None:
        """A finished run and the optimiser steps it was given."""
        try:
            stored = _json(path)
            if stored.pop("settings") != self.hash:
                return None
            length = stored.pop("length", None)
            if length is not None and path != self.path(stored["selector"], stored["seed"], length):
                raise ValueError(f"`length` must be that of the file's name, got {length!r}")
            stored["curve"] = [CurvePoint(**point) for point in stored["curve"]]
            record = RunRecord(**stored)
            check_record(record)
        except FileNotFoundError:
            return None
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            self._say_once(str(path), f"{path} is damaged, or of another version: a comparison trains this run again")
            return None
        return record, record.steps if length is None else length

    def _say_once(self, of: str, text: str) -> None:
        if of not in self._told_of:
            print(text, file=sys.stderr)
        self._told_of.add(of)

    def save(self, record: RunRecord, steps: int | None = None) -> None:
        """Keep a finished run.

        Args:
            record: Finished run to be written.
            steps: Number of optimiser steps; None takes that of `begin`.
        """
        length = self.steps if steps is None else steps
        text = json.dumps({"settings": self.hash, "length": length, **asdict(record)})
        write_atomically(self.path(record.selector, record.seed, steps), text)


def _json(path: Path) -> dict[str, Any]:
    """An object in JSON.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, got {type(found).__name__}")
    return found


def _settings(path: Path) -> dict[str, Any]:
    """The settings of a stored comparison, its hash and its steps."""
    from dynsel._lib.checks import check_integer  # imports torch, which the command's help shouldn't take

    try:
        found = _json(path)
        if isinstance(found["settings"], dict) and isinstance(found["hash"], str):
            check_integer("steps", found["steps"], at_least=1)
            return found
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    raise ValueError(
        f"{path} is damaged, or of another version; delete it, and the same command begins the comparison again and "
        "keeps what is finished"
    )


def check_record(record: RunRecord) -> None:
    """Refuse values of other types than a run has.

    Args:
        record: A run that was read from a file.

    Raises:
        TypeError: If a value is of another type; names it.
    """
    for name, value in asdict(record).items():
        kind = type(getattr(RunRecord("", 0), name))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in (int, float) and not number:
            raise TypeError(f"`{name}` must be a number, got {value!r}")
        if kind is list and not isinstance(value, list):
            raise TypeError(f"`{name}` must be a list, got {value!r}")
        if kind is dict and not isinstance(value, dict):
            raise TypeError(f"`{name}` must be an object, got {value!r}")
        if kind is type(None) and not (value is None or number or (name == "error" and isinstance(value, str))):
            raise TypeError(f"`{name}` must be a number, got {value!r}")
    if not isinstance(record.selector, str):
        raise TypeError(f"`selector` must be a text, got {record.selector!r}")


def file_name(selector: str) -> str:
    """A selector with its arguments as part of a file's name on any system; different ones stay different.

    Args:
        selector: Name of the selector, with arguments where given.
    """
    plain = re.sub(r"[^\w.-]+", "_", selector)
    return plain if plain == selector else f"{plain[:80]}-{hashlib.sha256(selector.encode()).hexdigest()[:6]}"


def flatten(settings: Settings, prefix: str = "") -> Settings:
    """Nested dictionaries as one, with dotted keys.

    Args:
        settings: Plain JSON values, nested.
        prefix: What stands before every key.

    Example:
        >>> flatten({"model": {"lr": 0.1, "sizes": [1, 2]}})
        {'model.lr': 0.1, 'model.sizes': [1, 2]}
    """
    flat: Settings = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(stored: Settings, given: Settings, shown: int = 4) -> str:
    """What two flat settings differ in.

    Args:
        stored: Flat settings of the stored comparison.
        given: Flat settings of this comparison.
        shown: Number of differences to tell; the others are counted.
    """
    keys = [key for key in sorted({*stored, *given}) if stored.get(key) != given.get(key)]
    pairs = [(key, *_unlike(stored.get(key), given.get(key))) for key in keys[:shown]]
    said = [f"{key}: {there!r} there, {now!r} now" for key, there, now in pairs]
    return "; ".join(said) + (f"; and {len(keys) - shown} more" if len(keys) > shown else "")


def _unlike(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values; of two lists of objects, such as callbacks, what only one of them has, unless that is nothing."""
    if all(isinstance(value, list) and all(isinstance(entry, dict) for entry in value) for value in (one, other)):
        alone = [entry for entry in one if entry not in other], [entry for entry in other if entry not in one]
        if any(alone):
            return alone
    return one, other
