"""Decoded arrays on disk, so that a data set is decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cache_folders", "cached_arrays"]

Arrays = Mapping[str, NDArray[Any]]


def cache_folders(root: Path) -> list[Path]:
    """Folders for the decoded form of the data in `root`, best first.

    Beside the data if that folder may be written to, then the user's cache (`$XDG_CACHE_HOME/dynsel` or
    `~/.cache/dynsel`).

    Args:
        root: Folder that the data lies in.
    """
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [root / ".dynsel-cache", user / "dynsel"]


def cached_arrays(name: str, files: list[tuple[str, int]], folders: list[Path], build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` gives, from disk if they were built from the same files before.

    Args:
        name: First part of the file name.
        files: Name and size of each file the arrays come from; if one changes, they are built again.
        folders: Where to look, and where to write: the first one that can be written to.
        build: Function that makes the arrays, called if no cache of theirs is there.
    """
    key = hashlib.sha256(json.dumps([1, files]).encode()).hexdigest()[:16]
    paths = [folder / f"{name}-{key}.npz" for folder in folders]
    for path in paths:
        if (arrays := _read(path)) is not None:
            return arrays
    arrays = build()
    if not any(_write(path, arrays) for path in paths):
        warnings.warn(
            f"could not write the decoded images to {' or '.join(map(str, folders))}: they will be decoded "
            "again next time; set XDG_CACHE_HOME to a folder that can be written to",
            stacklevel=2,
        )
    return arrays


def _read(path: Path) -> Arrays | None:
    """The arrays in a file; None if there is no such file or it is broken, in which case it is built anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> bool:
    """Write under a temporary name and rename; whether that worked."""
    if not _may_write(path.parent):
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # taken for `allow_pickle`
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        return False
    return True


def _may_write(folder: Path) -> bool:
    """Whether a folder, or the nearest parent that exists, is meant to be written to.

    The mode counts as well as the right: root could write to a folder that its owner marked read-only.
    """
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    return existing is not None and bool(existing.stat().st_mode & 0o222) and os.access(existing, os.W_OK)
