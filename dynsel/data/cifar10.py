"""CIFAR-10 from image folders, from archives of them, or by torchvision's download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from dynsel._lib.checks import check_path
from dynsel._lib.images import TensorImages
from dynsel.data.cache import cache_folders, cached_arrays
from dynsel.data.module import TensorDataModule
from dynsel.data.sources import ArchiveSource, FolderSource, ImageSource, decode_split

__all__ = ["CIFAR10DataModule"]

SPLITS = ("train", "test")
ARCHIVES = ("cifar10-train-0.tar.gz", "cifar10-train-1.tar.gz", "cifar10-test.tar.gz")
TORCHVISION_FOLDER = "cifar-10-batches-py"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class CIFAR10DataModule(TensorDataModule):
    """CIFAR-10: 50,000 training and 10,000 test images of shape (3, 32, 32); the test set validates.

    `root` may hold, looked for in this order:

    * folders `train/<class>/<file>` and `test/<class>/<file>`, or
    * the archives `cifar10-train-0.tar.gz`, `cifar10-train-1.tar.gz` and `cifar10-test.tar.gz` of that
      layout, which are read without being unpacked, or
    * torchvision's own copy, downloaded if need be.

    In the first two forms rows are in ImageFolder order (class name, then file name), and the decoded images
    are kept as one `.npz` in `root/.dynsel-cache` or, if that can't be written to, in
    `$XDG_CACHE_HOME/dynsel` or `~/.cache/dynsel`; it is made anew when a file's name, size
    or time of change differs, or the data lies elsewhere. In the
    third form rows are in torchvision's own order, which is another one: features computed for one form
    don't fit the other.

    Args:
        root: Folder that holds the data in one of these forms.
        batch_size: Images in a training batch.
        num_workers: Worker processes; must be 0 if the images are kept on an accelerator.
        download: Download by torchvision if `root` holds none of the three.
        on_device: Keep the images (184 MB) on the Trainer's accelerator, if it has one.
        label_noise: Share of the training labels to make wrong, in [0, 1) (`dynsel.data.flip_labels`).
        imbalance: Size of the largest training class over that of the smallest, at least 1
            (`dynsel.data.long_tail`).
        noise_kind: "symmetric", each other class equally likely, or "confusion", the class that is taken for it
            (`dynsel.data.confuse_labels`).
        duplicates: Share of the training set that are copies of a few others, in [0, 0.8] (`dynsel.data.copy_rows`).

    Raises:
        ValueError: If an argument is out of range.
    """

    confusions = (
        ("airplane", "ship"),
        ("automobile", "truck"),
        ("bird", "frog"),
        ("cat", "dog"),
        ("deer", "horse"),
    )

    def __init__(
        self,
        root: str | Path = "data/cifar10",
        batch_size: int = 256,
        num_workers: int = 0,
        download: bool = True,
        on_device: bool = True,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        noise_kind: str = "symmetric",
        duplicates: float = 0.0,
    ) -> None:
        super().__init__(batch_size, num_workers, on_device, label_noise, imbalance, noise_kind, duplicates)
        self.root = check_path("root", root)
        self.download = download

    @property
    def num_classes(self) -> int:
        """Ten."""
        return len(CLASSES)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, 32, 32)."""
        return 3, 32, 32

    def load(self) -> tuple[TensorImages, TensorImages]:
        """Training and test set, on the CPU.

        Raises:
            FileNotFoundError: If `root` does not hold the data, or only a part of it.
            ValueError: If what it holds is not CIFAR-10.
        """
        source = find_source(self.root)
        if source is None:
            return self._torchvision_set("train"), self._torchvision_set("test")
        files = {"root": str(self.root.resolve()), "files": source.files()}
        arrays = cached_arrays("cifar10", files, cache_folders(self.root), lambda: _decode(source))
        return _images(arrays, "train"), _images(arrays, "test")

    def _torchvision_set(self, split: str) -> TensorImages:
        try:
            from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(f"{_missing(self.root)}; for the download: pip install torchvision") from error
        try:
            data = CIFAR10(str(self.root), train=split == "train", download=self.download)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(f"{_missing(self.root)}. {self._way_out(error)}") from error
        return TensorImages(torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets), data.classes)

    def _way_out(self, error: Exception) -> str:
        if self.download:
            return f"The download failed ({error}): copy the data there by hand"
        return "Set download=True or point `root` to the data"


def find_source(root: Path) -> ImageSource | None:
    """Folders or archives in `root`; None if there is neither.

    Args:
        root: Folder to look into.

    Raises:
        FileNotFoundError: If only some of the parts are there.
    """
    if not (missing := _absent(root, SPLITS)):
        return FolderSource(root, SPLITS)
    if not (missing_archives := _absent(root, ARCHIVES)):
        return ArchiveSource(tuple(root / name for name in ARCHIVES))
    if (root / TORCHVISION_FOLDER).is_dir():
        return None
    for names, absent in ((SPLITS, missing), (ARCHIVES, missing_archives)):
        if len(absent) < len(names):
            raise FileNotFoundError(
                f"`root` must hold all of {', '.join(names)}, got {root} without {', '.join(absent)}: add the rest"
            )
    return None


def _absent(root: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not (root / name).exists()]


def _decode(source: ImageSource) -> dict[str, NDArray[Any]]:
    contents = source.contents()
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        arrays[f"{split}_images"], arrays[f"{split}_targets"], classes = decode_split(contents, split, side=32)
        if classes != CLASSES:
            raise ValueError(f"`{split}` must have the folders {', '.join(CLASSES)}, got {', '.join(classes)}")
    return arrays


def _images(arrays: Mapping[str, NDArray[Any]], split: str) -> TensorImages:
    return TensorImages(
        torch.from_numpy(arrays[f"{split}_images"]), torch.from_numpy(arrays[f"{split}_targets"]), CLASSES
    )


def _missing(root: Path) -> str:
    state = "does not hold it" if root.is_dir() else "does not exist"
    return (
        f"`root` must be a folder with CIFAR-10, but {root} {state}. Looked for folders train/ and test/, "
        f"for {', '.join(ARCHIVES)}, and for torchvision's {TORCHVISION_FOLDER}"
    )
