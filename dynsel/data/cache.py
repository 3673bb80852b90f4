"""Decoded arrays on disk, so that a data set is decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.array_files import list_keys, read_array
from dynsel._lib.files import write_atomically

__all__ = ["cache_folders", "cached_arrays"]

Arrays = Mapping[str, NDArray[Any]]

_KEY = "source"


def cache_folders(root: Path) -> list[Path]:
    """Folders for the decoded form of the data in `root`, best first.

    Beside the data if that folder may be written to, then the user's cache (`$XDG_CACHE_HOME/dynsel` or
    `~/.cache/dynsel`).

    Args:
        root: Folder that the data lies in.
    """
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [root / ".dynsel-cache", user / "dynsel"]


def cached_arrays(name: str, source: Mapping[str, Any], folders: list[Path], build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` gives, from disk if they were built from the same source before.

    Args:
        name: First part of the file name.
        source: What tells the source from others and from itself after a change, as plain values for JSON: its place,
            and name, size and time of change of each file. The arrays are built again if any of it differs.
        folders: Folders to look into; the first one that can be written to is written to.
        build: Function that makes the arrays, called if no cache of theirs is there.
    """
    key = hashlib.sha256(json.dumps([2, source]).encode()).hexdigest()
    paths = [folder / f"{name}-{key[:16]}.npz" for folder in folders]
    for path in paths:
        if (arrays := _read(path, key)) is not None:
            return arrays
    arrays = build()
    if not any(_write(path, {**arrays, _KEY: np.array(key)}) for path in paths):
        warnings.warn(
            f"could not write the decoded images to {' or '.join(map(str, folders))}: they will be decoded "
            "again next time; set XDG_CACHE_HOME to a folder that can be written to",
            stacklevel=2,
        )
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    """The arrays in a file; None if it isn't there, is broken, or is another's, in which case it is built anew."""
    try:
        if not _is_trusted(path):
            warnings.warn(
                f"{path} belongs to another user than you and the data, and is not used: it could hold any pixels; "
                "ask its owner to remove it",
                stacklevel=3,
            )
            return None
        arrays = {name: read_array(path, name) for name in list_keys(path)}
    except (OSError, ValueError):
        return None
    found = arrays.pop(_KEY, None)
    # A file that was copied or renamed from elsewhere doesn't say that it is of this source.
    return arrays if found is not None and found.shape == () and str(found) == key else None


def _is_trusted(path: Path) -> bool:
    """Whether a file is ours, the administrator's, or of whoever owns the folder of the data or cache."""
    if not hasattr(os, "getuid"):
        return True
    return path.stat().st_uid in {os.getuid(), 0, path.parent.parent.stat().st_uid}


def _write(path: Path, arrays: Arrays) -> bool:
    """Write whole or not at all; whether that worked."""
    if not _may_write(path.parent):
        return False
    try:
        write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]  # `allow_pickle`
    except (OSError, RuntimeError):  # a full disk is no reason to stop
        return False
    return True


def _may_write(folder: Path) -> bool:
    """Whether a folder, or the nearest parent that exists, is meant to be written to.

    The mode counts as well as the right: root could write to a folder that its owner marked read-only.
    """
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    return existing is not None and bool(existing.stat().st_mode & 0o222) and os.access(existing, os.W_OK)
