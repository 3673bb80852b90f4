"""Files that a configuration names: another one at the same path is another training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynsel._lib.array_files import split_key

__all__ = ["named_files"]

# Files up to the product are read whole. Of larger ones, such as features, blocks at even distances are.
BLOCKS, BLOCK = 16, 2**20


def named_files(value: Any) -> dict[str, str]:
    """A checksum of each file that is named somewhere in a configuration.

    It is of the size and of up to 16 MiB from first to last: features made anew differ everywhere, and a large file is
    checked as fast as a small one. Of a folder with feature stores their manifests count, which hold checksums.

    Args:
        value: Plain values, nested in mappings and lists; a text that names no file is none.

    Returns:
        By each text that names one, as it was written.
    """
    if isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value
        return {text: checksum for part in parts for text, checksum in named_files(part).items()}
    if not isinstance(value, str):
        return {}
    path, _ = split_key(value)
    paths = [path] if os.path.isfile(path) else []
    if os.path.isdir(path):
        paths = sorted(map(str, Path(path).glob("*.npy.json")))
    return {value: " ".join(map(_checksum, paths))} if paths else {}


def _checksum(path: str) -> str:
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for i in range(BLOCKS):
            file.seek(i * max(0, size - BLOCK) // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()[:16]
