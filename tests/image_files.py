"""Image files in folders and archives, for the tests of data sets."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def write_folders(root: Path, files: dict[str, bytes]) -> Path:
    """Files by their paths below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_archive(path: Path, files: dict[str, bytes], prefix: str = "") -> None:
    """Files by their paths in a gzipped tar archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
