"""Image files in folder-per-class layout, in a folder or inside tar archives, decoded to arrays."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.progress import track

__all__ = ["ArchiveSource", "FolderSource", "ImageSource", "decode_split", "image_folder_order"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})


# Name, size in bytes, time of change in nanoseconds.
FileState: TypeAlias = tuple[str, int, int]


class ImageSource(Protocol):
    """Named image files `<split>/<class>/.../<file>`, and what tells one state of them from another."""

    def files(self) -> list[FileState]:
        """Name, size in bytes and time of change in nanoseconds of every file the images come from, sorted."""
        ...

    def contents(self) -> Mapping[str, bytes | Path]:
        """Encoded image, or the path of it, by name."""
        ...


@dataclass(frozen=True)
class FolderSource:
    """Splits as folders: `root/train/<class>/<file>`.

    Args:
        root: The folder that holds the splits.
        splits: Folders below it to read.
    """

    root: Path
    splits: tuple[str, ...]

    def files(self) -> list[FileState]:
        """Name, size in bytes and time of change in nanoseconds of every image below the splits, sorted."""
        return sorted(_state(self._name(path), path) for path in self._walk())

    def contents(self) -> dict[str, bytes | Path]:
        """Path of every image by its name."""
        return {self._name(path): path for path in self._walk()}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _walk(self) -> Iterator[Path]:
        # Links are followed, as `torchvision.datasets.ImageFolder` does: data often lies elsewhere.
        for split in self.splits:
            for folder, _, names in os.walk(self.root / split, followlinks=True):
                yield from (Path(folder, name) for name in names if _is_image(name))


@dataclass(frozen=True)
class ArchiveSource:
    """Splits inside tar archives, read in memory: nothing is unpacked, links and devices are skipped.

    Args:
        archives: The archives; together they hold all splits, and no name twice.
    """

    archives: tuple[Path, ...]

    def files(self) -> list[FileState]:
        """Name, size in bytes and time of change in nanoseconds of the archives, sorted."""
        return sorted(_state(path.name, path) for path in self.archives)

    def contents(self) -> dict[str, bytes | Path]:
        """Encoded image by its name, all of them in memory.

        Raises:
            ValueError: If an archive is damaged, or two hold a file of the same name.
        """
        found: dict[str, bytes | Path] = {}
        for path in self.archives:
            for name, content in _members(path):
                if name in found:
                    raise ValueError(f"`{path.name}` must not repeat a file of another archive, got {name} twice")
                found[name] = content
        return found


def image_folder_order(names: Iterable[str], split: str) -> list[tuple[str, str]]:
    """Class and name of the files of one split, in the order of `torchvision.datasets.ImageFolder`.

    That is by class name, then folder, then file name.

    Args:
        names: Names of the form `<split>/<class>/.../<file>`; those of other splits are left out.
        split: First part of the names to take.

    Example:
        >>> image_folder_order(["train/dog/1.png", "test/cat/7.png", "train/cat/2.png"], "train")
        [('cat', 'train/cat/2.png'), ('dog', 'train/dog/1.png')]
    """
    rows = []
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) >= 3 and parts[0] == split:
            rows.append((parts[1], "/".join(parts[:-1]), parts[-1], name))
    return [(label, name) for label, _, _, name in sorted(rows)]


def decode_split(
    contents: Mapping[str, bytes | Path], split: str, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Decode the images of one split; a progress bar shows on a terminal.

    One thread: with images this small, more of them are slower (measured: they fight over the interpreter).

    Args:
        contents: Encoded images, or paths of them, by name.
        split: First part of the names to take.
        side: Height and width that every image must have.

    Returns:
        (N, 3, side, side) RGB pixels, (N,) class numbers and the class names; rows in ImageFolder order.

    Raises:
        ValueError: If the split is empty or an image is broken or of another size.
    """
    rows = image_folder_order(contents, split)
    if not rows:
        raise ValueError(f"no image found below `{split}/<class>/`")
    classes = sorted({label for label, _ in rows})
    number = {label: index for index, label in enumerate(classes)}
    targets = np.fromiter((number[label] for label, _ in rows), np.int64, len(rows))
    images = np.empty((len(rows), 3, side, side), np.uint8)
    for index, (_, name) in enumerate(track(rows, f"decoding {split} images")):
        images[index] = _decode(name, contents[name], side).transpose(2, 0, 1)
    return images, targets, classes


def _decode(name: str, content: bytes | Path, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            if image.size != (side, side):
                raise ValueError(f"images must be {side}x{side}, got {image.size[0]}x{image.size[1]} for {name}")
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"cannot decode {name}: {error}") from error


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the images in an archive.

    Raises:
        ValueError: If it is none, or damaged.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isreg() and _is_image(member.name) and (stream := archive.extractfile(member)) is not None:
                    yield PurePosixPath(member.name).as_posix(), stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} is no tar archive, or a damaged one ({error}); copy it again") from error


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _state(name: str, path: Path) -> FileState:
    found = path.stat()
    return name, found.st_size, found.st_mtime_ns
