"""Whether a command can write where it is told to, found out before its work."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from dynsel._lib.checks import check_path

__all__ = ["check_output", "check_output_folder"]


def check_output(name: str, path: str | Path) -> None:
    """A file can be written here: an empty one is, beside it, and goes again.

    A file system that is only read, a full disk, a name that is too long, a file where a folder should be: all of them
    are told now, and not after hours of work.

    Args:
        name: The parameter, as its user writes it.
        path: File to be, in a folder that need not be there.

    Raises:
        ValueError: If it can't be written; says why.
    """
    _check(name, path, folder=False)


def check_output_folder(name: str, path: str | Path) -> None:
    """Files can be written into this folder, which need not be there; as `check_output`.

    Args:
        name: The parameter, as its user writes it.
        path: Folder to be.

    Raises:
        ValueError: If nothing can be written into it; says why.
    """
    _check(name, path, folder=True)


def _check(name: str, path: str | Path, *, folder: bool) -> None:
    place = Path(os.path.realpath(check_path(name, path)))
    try:
        if place.exists() and place.is_dir() != folder:
            wanted, found = ("a folder", "a file") if folder else ("a file", "a folder")
            raise ValueError(f"`{name}` must be {wanted}, and {path} is {found}; choose another name")
        inner = Path(path).absolute() / "x" if folder else Path(path).absolute()
        for one in inner.parents:
            if one.is_symlink() and not one.exists():
                raise FileNotFoundError(errno.ENOENT, f"the link {one} leads nowhere")
        missing = ["x" if folder else place.name]
        above = place if folder else place.parent
        while not above.exists():
            missing.append(above.name)  # a folder that is still to be made: its name must be one, too
            above = above.parent
        for part in missing:
            _try(above / part)
    except OSError as error:
        why = error.strerror or str(error)
        raise ValueError(f"`{name}`: {path} can't be written ({why}); choose another place") from error


def _try(path: Path) -> None:
    """Make an empty file of the temporary name that `new_file` would take, and remove it.

    Raises:
        OSError: If that can't be.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    temporary.unlink(missing_ok=True)
