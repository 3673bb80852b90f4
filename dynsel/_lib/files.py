"""Files that appear whole or not at all, whoever else writes to the same folder, and whatever ends the process."""

from __future__ import annotations

import errno
import io
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["allocate", "array_header", "full_disk", "new_file", "only_writer", "start_array", "write_atomically"]

_SUFFIX = ".tmp"


def write_atomically(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write under a temporary name and rename, so that a half-written file is never taken for a whole one.

    Args:
        path: File to write; its folder is made if need be. Where it is a link, what it leads to is replaced.
        content: What to write, text as UTF-8; or what writes it to an open file.

    Raises:
        RuntimeError: If the disk is full; the message names it and what is free.
    """
    with new_file(path) as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` at the end of the block, or goes if the block fails.

    Its temporary name is random: processes of one number, as in two containers, don't meet in it, and a link that lies
    in wait is not followed. What processes that were killed left of the same file goes as well.

    Args:
        path: File to write; its folder is made if need be. Where it is a link, what it leads to is replaced.

    Raises:
        RuntimeError: If the disk is full.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    with full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        temporary, file = _open_temporary(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def allocate(file: IO[bytes], size: int) -> None:
    """Take the room of a file on the disk now: better no start than a full disk in the fifth hour.

    Args:
        file: An open, empty file that may be written to.
        size: Size that the file is to have, in bytes.

    Raises:
        OSError: If there is no room; see `full_disk`.
    """
    if _fallocate(file, size):
        return
    # Zeros written are room taken, on disks that know no other way.
    for start in range(0, size, 2**24):
        file.write(bytes(min(2**24, size - start)))
    file.seek(0)


def _fallocate(file: IO[bytes], size: int) -> bool:
    """Whether the system could take the room at one stroke."""
    if not size or not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def start_array(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Write the header of an `.npy` file, and take the room for its values, which are to be written next.

    Args:
        file: An open, empty file that may be written to.
        dtype: Type of the array's values.
        shape: Shape of the array, which is stored row by row.

    Returns:
        Bytes of the header.

    Raises:
        OSError: If there is no room; see `full_disk`.
    """
    header = array_header(dtype, shape)
    allocate(file, len(header) + math.prod(shape) * dtype.itemsize)
    file.write(header)
    return len(header)


def array_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The header of an `.npy` file.

    Args:
        dtype: Type of the array's values.
        shape: Shape of the array, which is stored row by row.
    """
    stream = io.BytesIO()
    facts = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


@contextmanager
def only_writer(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes that ask as well from writing the same output meanwhile.

    The lock goes with its process, however that ends.

    Args:
        path: What is written; the lock lies beside it.
        wait: Whether to wait while another process writes it.

    Raises:
        RuntimeError: If another process writes it and this one shouldn't wait.
    """
    from filelock import FileLock, Timeout

    place = path.with_name(f".{path.name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise RuntimeError(
            f"another process is writing {path}; wait until it is done, or choose another name"
        ) from error
    try:
        yield
    finally:
        # Whoever waits for the file that this removes has the lock next, and newcomers see what was written.
        place.unlink(missing_ok=True)
        lock.release()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what to do.

    Args:
        path: File that is being written.

    Raises:
        RuntimeError: If the disk is full; the message names it and what is free.
    """
    try:
        yield
    except OSError as error:
        # NumPy says so in words only.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "requested and" in str(error)
        if not full:
            raise
        folder = next(place for place in path.absolute().parents if place.is_dir())
        free = shutil.disk_usage(folder).free
        raise RuntimeError(
            f"no room to write {path} ({error.strerror or error}; {free / 1e6:,.0f} MB free in {folder}): free some or "
            "choose another disk; the same command then goes on, and until it is done nothing takes the file for whole"
        ) from error


def _open_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")
        try:
            file = os.fdopen(os.open(temporary, flags, 0o666), "w+b")
        except FileExistsError:
            continue
        _lock(file, wait=True)
        # Between making and locking it, another process may have taken it for a leftover.
        if _is_there(file, temporary):
            return temporary, file
        file.close()


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of the same target that no living process holds."""
    for leftover in path.parent.glob(f".{_escaped(path.name)}.*{_SUFFIX}"):
        # Whatever can't be opened or removed stays: it is in nobody's way.
        with suppress(OSError), open(os.open(leftover, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)), "r+b") as file:
            if _lock(file):
                leftover.unlink(missing_ok=True)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _lock(file: IO[bytes], *, wait: bool = False) -> bool:
    """Hold a file for as long as it is open; False if another process does, or locks aren't to be had."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _is_there(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False
