"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["full_disk", "write_atomically"]


def write_atomically(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write under a temporary name and rename, so that a half-written file is never taken for a whole one.

    Args:
        path: File to write; its folder is made if need be.
        content: What to write, text as UTF-8; or what writes it to an open file.

    Raises:
        RuntimeError: If the disk is full; the message names it and what is free.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
