"""Finished runs on disk, so that a killed comparison continues with the missing ones."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynsel._lib.files import write_atomically
from dynsel.compare.record import CurvePoint, RunRecord

__all__ = ["Store", "differences", "file_name", "flatten"]

Settings = dict[str, Any]


class Store:
    """The folder of one comparison: `settings.json`, and one file per finished run in `runs/`.

    Args:
        folder: Folder of the comparison, which the first file creates.
        settings: Everything that decides the outcome of a run besides selector and seed: plain JSON values.

    Raises:
        ValueError: If the folder holds runs of other settings.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = flatten(settings)
        self.hash = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]
        self.steps: int | None = None
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
            return cls(folder, json.loads((folder / "settings.json").read_text())["settings"])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{folder} holds no comparison: there is no settings.json in it") from error

    def _compare_with_stored(self) -> None:
        try:
            stored = json.loads((self.folder / "settings.json").read_text())
        except FileNotFoundError:
            return
        if stored["hash"] != self.hash:
            raise ValueError(
                f"{self.folder} holds runs of other settings ({differences(stored['settings'], self.settings)}); "
                "choose another folder by --out, or delete this one"
            )
        self.steps = stored["steps"]

    def begin(self, steps: int) -> None:
        """Write the settings down.

        Args:
            steps: Number of optimiser steps of every run.
        """
        self.steps = steps
        write_atomically(
            self.folder / "settings.json",
            json.dumps({"hash": self.hash, "steps": steps, "settings": self.settings}, indent=1),
        )

    def path(self, selector: str, seed: int, steps: int | None = None) -> Path:
        """File of a run.

        Args:
            selector: Name of the selector.
            seed: Seed for weights, order and selection.
            steps: Number of optimiser steps; None takes that of `begin`.
        """
        length = "" if steps in (None, self.steps) else f"-{steps}steps"
        return self.folder / "runs" / f"{file_name(selector)}-seed{seed}{length}.json"

    def selectors(self) -> list[str]:
        """Names of the selectors that have a finished run, in the order of the files."""
        paths = sorted((self.folder / "runs").glob("*.json"))
        return list(dict.fromkeys(json.loads(path.read_text())["selector"] for path in paths))

    def load(self, selector: str, seed: int, steps: int | None = None) -> RunRecord | None:
        """A finished run, or None if there is none (or one of other settings, copied here).

        Args:
            selector: Name of the selector.
            seed: Seed of the run.
            steps: Number of optimiser steps; None takes that of `begin`.
        """
        try:
            stored = json.loads(self.path(selector, seed, steps).read_text())
        except FileNotFoundError:
            return None
        if stored.pop("settings") != self.hash:
            return None
        stored["curve"] = [CurvePoint(**point) for point in stored["curve"]]
        return RunRecord(**stored)

    def save(self, record: RunRecord, steps: int | None = None) -> None:
        """Keep a finished run.

        Args:
            record: The run.
            steps: Number of optimiser steps; None takes that of `begin`.
        """
        text = json.dumps({"settings": self.hash, **asdict(record)})
        write_atomically(self.path(record.selector, record.seed, steps), text)


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
