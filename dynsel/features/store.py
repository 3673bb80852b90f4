"""Features on disk, opened and checked: a memory-mapped `.npy`, and beside it a manifest that says what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.array_files import map_array
from dynsel.features.layout import (
    block_rows,
    check_fingerprint,
    checksum,
    manifest_path,
    part_path,
    read_journals,
    read_manifest,
    read_plan,
)

__all__ = ["FeatureStore", "find_store", "open_store"]

Array = NDArray[Any]

_FULL_CHECK = 2**28  # bytes: a larger store is opened on a sample of its checksums
_SAMPLED_BLOCKS = 8


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """A whole store, opened.

    Args:
        path: Path of the `.npy` file.
        manifest: What the manifest `x.npy.json` says.
        features: (N, d) memory map, float16 or float32.
    """

    path: Path
    manifest: dict[str, Any]
    features: Array

    @property
    def skipped(self) -> list[int]:
        """Rows of items that couldn't be read; they are zeros."""
        return [int(row) for row in self.manifest.get("skipped", [])]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N,) bool: False for skipped rows."""
        valid = np.ones(len(self.features), dtype=np.bool_)
        valid[self.skipped] = False
        return valid

    def damaged_blocks(self) -> Iterator[tuple[int, int] | None]:
        """Check every block: for each, None or the rows (first, last + 1) of one that isn't what was written."""
        for block in range(len(self.manifest.get("checksums", []))):
            rows = block_rows(self.manifest, block)
            intact = checksum(self.features[rows]) == self.manifest["checksums"][block]
            yield None if intact else (rows.start, rows.stop)


def find_store(source: str | os.PathLike[str]) -> Path:
    """The `.npy` file that a path stands for: itself, its manifest, or a folder that holds one store.

    Args:
        source: Any of these paths.

    Raises:
        FileNotFoundError: If a store is there that is only half written.
        ValueError: If a folder holds none or several.
    """
    path = Path(source)
    if path.name.endswith(".npy.json"):
        path = path.with_name(path.name.removesuffix(".json"))
    if path.is_dir() and not path.name.endswith(".part"):
        stores = sorted(path.glob("*.npy.json"))
        if len(stores) != 1:
            names = ", ".join(p.name.removesuffix(".json") for p in stores) or "none"
            raise ValueError(
                f"{path} must hold one feature store (a .npy.json beside a .npy), got {names}; name the file"
            )
        path = stores[0].with_name(stores[0].name.removesuffix(".json"))
    part = path if path.name.endswith(".part") else part_path(path)
    if part.is_dir() and (path == part or not path.is_file()):
        target = part.with_name(part.name.removesuffix(".part"))
        done = len(read_journals(part))
        total = read_plan(part)["blocks"] if (part / "plan.json").is_file() else "?"
        raise FileNotFoundError(
            f"{target} is not finished: {done} of {total} blocks are there; run the same `dynsel features extract` "
            "again to complete it"
        )
    return path


def open_store(source: str | os.PathLike[str], dataset: Any = None, *, check_blocks: bool = True) -> FeatureStore:
    """Open a store, checking that it is what its manifest says.

    Size, shape, type and (given a data set) fingerprint are always checked; checksums all up to 256 MiB, above that
    those of eight blocks from first to last: `dynsel features verify` checks them all.

    Args:
        source: The `.npy` file, its manifest, or a folder that holds one store.
        dataset: Map-style data set that the rows should describe.
        check_blocks: Whether checksums are compared.

    Raises:
        FileNotFoundError: If there is none, or an unfinished one.
        ValueError: If it is truncated, was changed, or is of another data set; names what differs.
    """
    path = find_store(source)
    if not path.is_file():
        raise FileNotFoundError(f"there is no feature file {path}")
    if not manifest_path(path).is_file():
        raise FileNotFoundError(
            f"{path} has no manifest {manifest_path(path).name} beside it, so nothing says what it is; "
            "write it by `dynsel features extract` or `save_features`"
        )
    manifest = read_manifest(path)
    features = _map(path, manifest)
    _check_array(path, features, manifest)
    store = FeatureStore(path, manifest, features)
    if check_blocks:
        _check_blocks(store)
    if dataset is not None:
        check_fingerprint(path, manifest, dataset)
    return store


def _map(path: Path, manifest: Mapping[str, Any]) -> Array:
    said, found = manifest.get("bytes"), path.stat().st_size
    if said is not None and found < said:
        raise ValueError(f"{path} is truncated: {found:,} bytes of {said:,}; copy it again, or extract it again")
    return map_array(path)


def _check_array(path: Path, features: Array, manifest: Mapping[str, Any]) -> None:
    said = (manifest["N"], manifest["d"], manifest["dtype"])
    if said != (*features.shape, str(features.dtype)):
        raise ValueError(
            f"{path} is (N, d) = {features.shape} {features.dtype}, its manifest says {said[:2]} {said[2]}: "
            "one of the two was replaced; write them again"
        )


def _check_blocks(store: FeatureStore) -> None:
    count = len(store.manifest.get("checksums", []))
    chosen = range(count)
    if store.features.nbytes > _FULL_CHECK and count > _SAMPLED_BLOCKS:
        chosen = [i * (count - 1) // (_SAMPLED_BLOCKS - 1) for i in range(_SAMPLED_BLOCKS)]  # type: ignore[assignment]
    for block in chosen:
        rows = block_rows(store.manifest, block)
        if checksum(store.features[rows]) != store.manifest["checksums"][block]:
            raise ValueError(
                f"{store.path} was changed or damaged after it was written: rows {rows.start} to {rows.stop - 1} don't "
                "match their checksum; copy it again, or extract it again"
            )
