"""Arrays in `.npy` and `.npz` files: nothing is ever unpickled, and nothing is read that wouldn't fit into memory."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose_key", "is_float_matrix", "list_keys", "map_array", "read_array", "split_key"]

Array = NDArray[Any]


def split_key(source: str) -> tuple[str, str | None]:
    """Path and key of "file.npz:key".

    Args:
        source: Path of a file, with or without a key; a file whose name holds a colon is a file.

    Returns:
        Path and key; no key for any other path.
    """
    if not os.path.exists(source) and ".npz:" in source:
        path, _, key = source.rpartition(":")
        return path, key
    return source, None


def map_array(path: str | Path, *, writable: bool = False) -> Array:
    """The array of an `.npy` file, memory-mapped: opened at once, and never read whole.

    Args:
        path: Path of the file to read.
        writable: Whether values of the map may be changed, as torch wants it; changes stay in memory, not in the file.

    Returns:
        An array of the file's own dtype and of any shape, whose values are read when they are looked at.

    Raises:
        ValueError: If it can't be read, or holds Python objects.
    """
    with _explained(path):
        array: Array = np.load(path, mmap_mode="c" if writable else "r", allow_pickle=False)
    return array


def list_keys(path: str | Path) -> list[str]:
    """Names of the arrays in an `.npz` file.

    Args:
        path: Path of the file to read or write.

    Raises:
        ValueError: If it can't be read.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def choose_key(path: str | Path, key: str | None, candidates: Sequence[str], what: str) -> str:
    """The key that was asked for, or the only candidate.

    Args:
        path: Path of the `.npz` file.
        key: What was asked for; None = nothing.
        candidates: Keys that could be meant.
        what: What is looked for, for the message.

    Raises:
        ValueError: If there is no such key, or the choice is between none or several.
    """
    keys = list_keys(path)
    if key is not None and key in keys:
        return key
    listing = ", ".join(map(repr, keys)) or "none"
    if key is not None:
        raise ValueError(f"{path} has no array {key!r}; its keys: {listing}")
    if len(candidates) == 1:
        return candidates[0]
    raise ValueError(
        f"{path} has {len(candidates)} {what}, so say which: '{os.path.basename(path)}:KEY'; its keys: {listing}"
    )


def is_float_matrix(path: str | Path, key: str) -> bool:
    """Whether an array of an `.npz` file is 2-D and floating point, by its header alone: it may be large.

    Args:
        path: Path of the `.npz` file.
        key: Name of the array in the file; one that isn't there gives False.

    Raises:
        ValueError: If the file can't be read.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            return False
        shape, dtype, _ = _header(archive, key)
    return len(shape) == 2 and dtype.kind == "f"


def read_array(path: str | Path, key: str) -> Array:
    """One array of an `.npz` file, in memory.

    Args:
        path: Path of the `.npz` file.
        key: Name of the array, one of its keys.

    Returns:
        The array, of any shape, with the dtype that it was saved with.

    Raises:
        ValueError: If it can't be read, isn't what its header says, holds Python objects, or doesn't fit into memory.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        shape, dtype, data = _header(archive, key)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        if size != data:
            raise ValueError(f"{key!r} is {shape} {dtype} by its header, {size:,} bytes, but {data:,} are there")
        room = _available_memory()
        if size > room:
            raise ValueError(
                f"{key!r} is {shape} {dtype}, {size / 1e9:,.1f} GB, and {room / 1e9:,.1f} GB of memory are free; "
                "write it as .npy, which is never read whole"
            )
        with archive.open(f"{key}.npy") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and type that the header of an array says, and the bytes that follow it."""
    name = f"{key}.npy"
    with archive.open(name) as file:
        major = np.lib.format.read_magic(file)[0]
        read: Callable[..., Any] = (
            np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        return shape, dtype, archive.getinfo(name).file_size - file.tell()


def _available_memory() -> int:
    """Bytes that can be had without swapping, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 2**63


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of the disk, NumPy, zipfile, zlib, or Python's tokenizer, which reads the header
        raise ValueError(f"{path} can't be read as NumPy arrays (pickled objects never are): {error}") from error
