"""A distilled data set on disk: synthetic images in safetensors, and a manifest that vouches for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dynsel._lib.checks import check_flag, check_path
from dynsel._lib.files import only_writer, write_atomically
from dynsel._lib.tensor_files import read_tensors
from dynsel.distill.mosaic import decode as cut_mosaics

__all__ = ["DistilledDataset", "save_distilled"]

_FORMAT = "dynsel distilled 1"
_NAME = "distilled"


class DistilledDataset(Dataset[tuple[Tensor, int | Tensor]]):
    """Synthetic images made by `dynsel distill`, for any loader: item i is a float image in [0, 1] and its label.

    These are no images of the data set but made from all of it: look at them before you draw conclusions from them.

    Args:
        path: The folder that `dynsel distill` wrote, or its `distilled.json`.
        decode: Whether mosaics are cut into their tiles, each enlarged to an image, which is what they are made to be
            trained on; else items are the images as they are stored.
        soft: Whether an item's label is the (C,) shares of the classes, which must have been stored.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1].
        targets: (N,) int64 labels.
        soft_targets: (N, classes) float32 shares of the classes, or None.
        classes: Names of the classes.
        manifest: What the manifest says.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or was changed, or soft labels are asked for and there are none.
    """

    def __init__(self, path: str | Path, decode: bool = True, soft: bool = False) -> None:
        check_path("path", path)
        check_flag("decode", decode)
        check_flag("soft", soft)
        manifest_path = Path(path) / f"{_NAME}.json" if Path(path).is_dir() else Path(path)
        self.manifest, tensors = _read(manifest_path)
        images, targets, shares = tensors["images"], tensors["targets"], tensors.get("soft_targets")
        factor = int(self.manifest["factor"])
        if soft and (shares is None or not decode):
            why = "it was made without `soft_labels`" if shares is None else "they belong to decoded images"
            raise ValueError(f"`soft` must be False for {manifest_path}: {why}")
        if decode:
            images = cut_mosaics(images, factor).flatten(0, 1)
            targets = targets.repeat_interleave(factor * factor)
        self.images, self.targets, self.soft = images, targets, soft
        self.soft_targets = shares if decode else None
        self.classes: list[str] = list(self.manifest["classes"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        if self.soft:
            assert self.soft_targets is not None
            return self.images[index], self.soft_targets[index]
        return self.images[index], int(self.targets[index])


def save_distilled(
    folder: str | Path,
    images: Tensor,
    targets: Tensor,
    classes: Sequence[str],
    factor: int = 1,
    soft_targets: Tensor | None = None,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write synthetic images; the manifest comes last, so that half of it is never taken for the whole.

    Args:
        folder: Folder to write into; made if need be.
        images: (M, C, H, W) floats in [0, 1], mosaics if `factor` is above 1.
        targets: (M,) int64 label of each image, in [0, C).
        classes: Names of the C classes, in the order of the labels.
        factor: Tiles along each side of a mosaic, at least 1; 1 = plain images.
        soft_targets: (M factor², classes) shares of the classes, of the decoded images.
        facts: What else the manifest says: plain JSON.

    Returns:
        Path of the manifest.

    Raises:
        ValueError: If pixels aren't in [0, 1] or numbers don't fit together.
    """
    from safetensors.torch import save

    tensors = _checked_tensors(images, targets, len(classes), factor, soft_targets)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data, manifest_path = folder / f"{_NAME}.safetensors", folder / f"{_NAME}.json"
    content = save(tensors)
    manifest = {
        "format": _FORMAT,
        "file": data.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "images": list(tensors["images"].shape),
        "per_class": torch.bincount(tensors["targets"], minlength=len(classes)).tolist(),
        "classes": list(classes),
        "factor": factor,
        "soft_targets": soft_targets is not None,
        "synthetic": True,
        **(facts or {}),
    }
    with only_writer(manifest_path):
        write_atomically(data, content)
        write_atomically(manifest_path, json.dumps(manifest, indent=1) + "\n")
    return manifest_path


def _checked_tensors(
    images: Tensor, targets: Tensor, num_classes: int, factor: int, soft_targets: Tensor | None
) -> dict[str, Tensor]:
    """What is stored, on the CPU, once shapes and ranges are known to be right."""
    images = images.detach().float().cpu().contiguous()
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("`images` must be within [0, 1] and finite")
    if images.ndim != 4 or tuple(targets.shape) != (len(images),):
        raise ValueError(
            f"`images` must be (M, C, H, W) and `targets` (M,), got {tuple(images.shape)} and {tuple(targets.shape)}"
        )
    if not bool(((targets >= 0) & (targets < num_classes)).all()):
        raise ValueError(f"`targets` must be in [0, {num_classes}), one name in `classes` for each")
    tensors = {"images": images, "targets": targets.detach().cpu().long().contiguous()}
    if soft_targets is not None:
        expected = (len(images) * factor**2, num_classes)
        if soft_targets.shape != expected:
            raise ValueError(f"`soft_targets` must be {expected}, got {tuple(soft_targets.shape)}")
        tensors["soft_targets"] = soft_targets.detach().float().cpu().contiguous()
    return tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no distilled data set at {path}; `dynsel distill fit` makes one")
    try:
        manifest = json.loads(path.read_text())
        known = isinstance(manifest, dict) and manifest.get("format") == _FORMAT
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no manifest, or a damaged one: {error}") from error
    if not known:
        raise ValueError(f"{path} is no manifest of a distilled data set: its format must be {_FORMAT!r}")
    # By name only: a manifest must not lead to other files.
    if not all(isinstance(manifest.get(name), str) for name in ("file", "sha256")):
        raise ValueError(f"{path} is damaged: it must name its `file` and the file's `sha256`; export it again")
    data = path.parent / Path(manifest["file"]).name
    if not data.is_file():
        raise FileNotFoundError(f"{path} names {data.name}, which is not beside it")
    if (found := _sha256(data)) != manifest["sha256"]:
        raise ValueError(
            f"{data} is not what {path.name} vouches for: expected sha256 {manifest['sha256'][:16]}…, got "
            f"{found[:16]}…; one of the two was changed or is damaged: export it again"
        )
    tensors = read_tensors(data, what=f"what {path.name} describes")
    if wrong := _wrong_content(manifest, tensors):
        raise ValueError(f"{data} can't be used: {wrong}; export it again")
    return manifest, tensors


def _wrong_content(manifest: dict[str, Any], tensors: dict[str, Tensor]) -> str | None:
    """What no distilled set could hold, in words: a checksum only says that files belong together."""
    classes, factor = manifest.get("classes"), manifest.get("factor")
    if not isinstance(classes, list) or not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
        return "its manifest must name `classes` and a `factor` of at least 1"
    images, targets, shares = (tensors.get(name) for name in ("images", "targets", "soft_targets"))
    if images is None or targets is None or images.ndim != 4 or targets.shape != images.shape[:1]:
        return "it must hold `images` (M, C, H, W) and `targets` (M,)"
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        return "its images must be floats in [0, 1]"
    if targets.dtype != torch.int64 or not bool(((targets >= 0) & (targets < len(classes))).all()):
        return f"its targets must be whole numbers in [0, {len(classes)})"
    if shares is None:
        return None
    if shares.shape != (len(images) * factor**2, len(classes)) or not bool(((shares >= 0) & (shares <= 1)).all()):
        return f"its soft targets must be ({len(images) * factor**2}, {len(classes)}) shares in [0, 1]"
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
