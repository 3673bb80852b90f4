"""Writing a feature store block by block, so that an interruption costs one block at most."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.checks import check_integer, check_path
from dynsel._lib.files import array_header, full_disk, start_array, write_atomically
from dynsel._lib.matrices import LARGEST, name_rows
from dynsel.features.layout import (
    FORMAT,
    block_rows,
    checksum,
    manifest_path,
    part_path,
    plan_difference,
    read_journals,
    read_plan,
    write_manifest,
)

__all__ = ["StoreWriter"]

Array = NDArray[Any]


class StoreWriter:
    """Writes a store block by block; several processes may do so at once, each its own blocks.

    One process calls `begin`, then all construct a writer and `write` blocks in any order; when all are written, one
    calls `finish`.

    Args:
        path: The `.npy` file to be.
        writer: Number of this process; names its journal.

    Raises:
        FileNotFoundError: If nobody has begun it, or on a disk that this machine doesn't see.
    """

    def __init__(self, path: str | os.PathLike[str], writer: int = 0) -> None:
        writer = check_integer("writer", writer, at_least=0)
        self.path = check_path("path", path)
        if self.path.suffix != ".npy":
            raise ValueError(f"`path` must end in .npy, got {self.path.name!r}")
        self.part = part_path(self.path)
        self.plan: dict[str, Any] = read_plan(self.part)
        self._journal = self.part / f"journal-{writer}.jsonl"
        self._offset = len(array_header(np.dtype(self.plan["dtype"]), (self.plan["N"], self.plan["d"])))

    @staticmethod
    def begin(path: str | os.PathLike[str], plan: Mapping[str, Any]) -> None:
        """Make room for a store, or take up one that was interrupted.

        Args:
            path: The `.npy` file to be, in a folder that exists or is made.
            plan: What will be in it: `N`, `d`, `dtype`, `block_rows`, and anything else for JSON that says
                what the features are (`fingerprint`, `extractor`, ...).

        Raises:
            RuntimeError: If the disk has no room.
            ValueError: If the path doesn't end in .npy, or an interrupted store there is of something else.
        """
        path = Path(path)
        if path.suffix != ".npy":
            raise ValueError(f"`path` must end in .npy, got {path.name!r}")
        part = part_path(path)
        plan = {**json.loads(json.dumps(dict(plan))), "blocks": -(-plan["N"] // plan["block_rows"])}
        if (part / "plan.json").is_file():
            difference = plan_difference(read_plan(part), plan)
            if difference:
                raise ValueError(
                    f"{part} holds an interrupted extraction of something else; they differ in: {difference}. "
                    "Go on with what it was, choose another file, or delete that folder"
                )
            return
        with full_disk(path):
            part.mkdir(parents=True, exist_ok=True)
            with open(part / "data", "wb") as file:
                start_array(file, np.dtype(plan["dtype"]), (plan["N"], plan["d"]))
            write_atomically(part / "plan.json", json.dumps(plan, indent=1))

    def missing(self) -> list[int]:
        """Numbers of the blocks that nobody has written yet, ascending."""
        done = read_journals(self.part)
        return [block for block in range(self.plan["blocks"]) if block not in done]

    def rows(self, block: int) -> slice:
        """The rows of a block.

        Args:
            block: Number of the block, from 0.
        """
        return block_rows(self.plan, block)

    def write(self, block: int, features: Array, skipped: list[int] | None = None) -> None:
        """Write one block, and then note that it is there.

        Args:
            block: Number of the block, from 0.
            features: (rows of the block, d) of the store's type, finite.
            skipped: Rows, counted in the store, whose items couldn't be read.

        Raises:
            RuntimeError: If the disk is full; what was written so far is kept.
            TypeError: If the type is another one.
            ValueError: If the shape is another one, or a row isn't finite or too large; names the rows.
        """
        rows = self.rows(block)
        if str(features.dtype) != self.plan["dtype"]:
            raise TypeError(f"block {block} must be {self.plan['dtype']} like the store, got {features.dtype}")
        if features.shape != (rows.stop - rows.start, self.plan["d"]):
            wanted = (rows.stop - rows.start, self.plan["d"])
            raise ValueError(f"block {block} must be {wanted}, got {features.shape}")
        bad = np.flatnonzero(~np.isfinite(features).all(1)) + rows.start
        if len(bad):
            wider = "; if they are too large for float16, use dtype='float32'" if features.dtype == np.float16 else ""
            raise ValueError(f"features must be finite, got NaN or infinite values in {name_rows(bad.tolist())}{wider}")
        # As float32: to float16 the limit itself is infinite.
        large = np.flatnonzero((np.abs(features) > np.float32(LARGEST)).any(1)) + rows.start
        if len(large):
            raise ValueError(
                f"features must be at most {LARGEST:g} in size, got larger values in {name_rows(large.tolist())}"
            )
        data = np.ascontiguousarray(features)
        with full_disk(self.path):
            with open(self.part / "data", "r+b") as file:
                file.seek(self._offset + rows.start * data.shape[1] * data.itemsize)
                file.write(data.tobytes())
                file.flush()
                os.fsync(file.fileno())  # before the journal says so
            entry = {"block": block, "sha256": checksum(data), "skipped": skipped or []}
            with open(self._journal, "ab") as file:
                # A line that a kill cut short must not swallow this one.
                file.write(f"\n{json.dumps(entry)}\n".encode())
                file.flush()
                os.fsync(file.fileno())

    def finish(self, **facts: Any) -> Path:
        """Turn what was written into a store.

        Args:
            **facts: For the manifest, beside the plan.

        Raises:
            RuntimeError: If blocks are missing.
        """
        done = read_journals(self.part)
        missing = self.missing()
        if missing:
            raise RuntimeError(f"{self.path} lacks {len(missing)} of {self.plan['blocks']} blocks, first {missing[0]}")
        data = self.part / "data"
        if data.exists():  # else we were killed after this step
            manifest_path(self.path).unlink(missing_ok=True)
            os.replace(data, self.path)
        plan = {key: value for key, value in self.plan.items() if key != "blocks"}
        entries = [done[block] for block in range(self.plan["blocks"])]
        skipped = sorted(row for entry in entries for row in entry["skipped"])
        manifest = {
            "format": FORMAT,
            **plan,
            **facts,
            "bytes": self.path.stat().st_size,
            "checksums": [entry["sha256"] for entry in entries],
            **({"skipped": skipped} if skipped else {}),
        }
        write_manifest(self.path, manifest)
        shutil.rmtree(self.part)
        return self.path
