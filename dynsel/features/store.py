"""Features on disk: a memory-mapped `.npy`, and beside it a manifest that says of what, by what, and whether whole.

A store `x.npy` has its manifest in `x.npy.json`. While it is being written it is a folder `x.npy.part`: the array under
construction (`data`), what is being made (`plan.json`), and for each writer a journal of the blocks that are
finished, with their checksums. The array is moved out when all blocks are there and the manifest is written last, so
an interrupted store never looks whole, and goes on at its first missing block.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.files import full_disk, write_atomically
from dynsel._lib.matrices import name_rows
from dynsel.features.fingerprint import describe_difference, fingerprint

__all__ = ["FeatureStore", "StoreWriter", "checksum", "find_store", "manifest_path", "open_store"]

Array = NDArray[Any]

_FORMAT = "dynsel.features"
_FULL_CHECK = 2**28  # bytes: a larger store is opened on a sample of its checksums
_SAMPLED_BLOCKS = 8


# ---------------------------------------------------------------- reading
@dataclass(frozen=True, eq=False)
class FeatureStore:
    """A whole store, opened.

    Args:
        path: The `.npy` file.
        manifest: What `x.npy.json` says.
        features: (N, d) memory map.
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
            rows = _rows(self.manifest, block)
            intact = checksum(self.features[rows]) == self.manifest["checksums"][block]
            yield None if intact else (rows.start, rows.stop)


def find_store(source: str | os.PathLike[str]) -> Path:
    """The `.npy` file that a path means: itself, its manifest, or a folder that holds one store.

    Raises:
        FileNotFoundError: If there is no such file; says so if one is half written.
        ValueError: If a folder holds several.
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
    part = path if path.name.endswith(".part") else _part(path)
    if part.is_dir() and (path == part or not path.is_file()):
        target = part.with_name(part.name.removesuffix(".part"))
        done = len(_journalled(part))
        total = _read_json(part / "plan.json").get("blocks", "?") if (part / "plan.json").is_file() else "?"
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
        check_blocks: Compare checksums.

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


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a `.npy` file.

    Raises:
        ValueError: If it isn't one.
    """
    try:
        manifest = _read_json(manifest_path(path))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{manifest_path(path)} is no JSON: {error}; write the features again") from error
    if not isinstance(manifest, dict) or not {"N", "d", "dtype"} <= set(manifest):
        raise ValueError(f"{manifest_path(path)} is no manifest of features: it says neither N, d nor dtype")
    return manifest


def check_fingerprint(path: Path, manifest: Mapping[str, Any], dataset: Any) -> None:
    """Compare the data set that features were computed for with this one.

    Raises:
        ValueError: If they differ; says in what.
    """
    if manifest.get("fingerprint") is None:
        return
    difference = describe_difference(manifest["fingerprint"], fingerprint(dataset))
    if difference:
        raise ValueError(
            f"{path} was computed for another data set than this one; they differ in: {difference}. "
            f"Compute the features again, or remove {manifest_path(path).name} if you know better"
        )


def _map(path: Path, manifest: Mapping[str, Any]) -> Array:
    said, found = manifest.get("bytes"), path.stat().st_size
    if said is not None and found < said:
        raise ValueError(f"{path} is truncated: {found:,} bytes of {said:,}; copy it again, or extract it again")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} can't be read as NumPy arrays (pickled objects never are): {error}") from error
    return np.asarray(array) if not isinstance(array, np.memmap) else array


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
        rows = _rows(store.manifest, block)
        if checksum(store.features[rows]) != store.manifest["checksums"][block]:
            raise ValueError(
                f"{store.path} was changed or damaged after it was written: rows {rows.start} to {rows.stop - 1} don't "
                "match their checksum; copy it again, or extract it again"
            )


# ---------------------------------------------------------------- writing
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
        self.path, self.part = Path(path), _part(Path(path))
        if not (self.part / "plan.json").is_file():
            raise FileNotFoundError(
                f"{self.part} isn't there: the store must lie on a disk that every process and machine sees"
            )
        self.plan: dict[str, Any] = _read_json(self.part / "plan.json")
        self._journal = self.part / f"journal-{writer}.jsonl"
        self._offset = len(_header(self.plan))

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
        part = _part(path)
        plan = {**json.loads(json.dumps(dict(plan))), "blocks": -(-plan["N"] // plan["block_rows"])}
        if (part / "plan.json").is_file():
            difference = plan_difference(_read_json(part / "plan.json"), plan)
            if difference:
                raise ValueError(
                    f"{part} holds an interrupted extraction of something else; they differ in: {difference}. "
                    "Go on with what it was, choose another file, or delete that folder"
                )
            return
        with full_disk(path):
            part.mkdir(parents=True, exist_ok=True)
            with open(part / "data", "wb") as file:
                size = len(_header(plan)) + plan["N"] * plan["d"] * np.dtype(plan["dtype"]).itemsize
                # The room is taken at once: better no start than a full disk in the fifth hour.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                file.write(_header(plan))
            write_atomically(part / "plan.json", json.dumps(plan, indent=1))

    def missing(self) -> list[int]:
        """Blocks that nobody has written yet, ascending."""
        done = _journalled(self.part)
        return [block for block in range(self.plan["blocks"]) if block not in done]

    def rows(self, block: int) -> slice:
        """The rows of a block."""
        return _rows(self.plan, block)

    def write(self, block: int, features: Array, skipped: list[int] | None = None) -> None:
        """Write one block, and then note that it is there.

        Args:
            block: Number of the block.
            features: (rows of the block, d) of the store's type, finite.
            skipped: Rows, counted in the store, whose items couldn't be read.

        Raises:
            RuntimeError: If the disk is full; what was written so far is kept.
            TypeError: If the type is another one.
            ValueError: If the shape is another one, or a row isn't finite; names the rows.
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
        done = _journalled(self.part)
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
            "format": _FORMAT,
            **plan,
            **facts,
            "bytes": self.path.stat().st_size,
            "checksums": [entry["sha256"] for entry in entries],
            **({"skipped": skipped} if skipped else {}),
        }
        write_manifest(self.path, manifest)
        shutil.rmtree(self.part)
        return self.path


def plan_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """In what two plans or manifests differ, in words; None if in nothing that decides the features."""
    names = ("N", "d", "dtype", "block_rows", "batch_size", "precision")
    both = [name for name in names if name in a and name in b]
    parts = [f"{name} ({a[name]} there, {b[name]} now)" for name in both if a[name] != b[name]]
    if a.get("fingerprint") and b.get("fingerprint"):
        other = describe_difference(a["fingerprint"], b["fingerprint"])
        parts += [f"data set: {other}"] if other else []
    theirs, ours = a.get("extractor") or {}, b.get("extractor") or {}
    for key in sorted({*theirs, *ours}):
        if theirs.get(key) != ours.get(key):
            parts.append(f"extractor's {key} ({theirs.get(key)} there, {ours.get(key)} now)")
    return "; ".join(parts) or None


def checksum(rows: Array) -> str:
    """Of the values of these rows, in 32 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:32]


def manifest_path(path: Path) -> Path:
    """Where the manifest of a `.npy` file lies."""
    return path.with_name(f"{path.name}.json")


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a `.npy` file, whole or not at all."""
    write_atomically(manifest_path(path), json.dumps(manifest, indent=1))


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _rows(plan: Mapping[str, Any], block: int) -> slice:
    return slice(block * plan["block_rows"], min((block + 1) * plan["block_rows"], plan["N"]))


def _header(plan: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    facts = {"descr": np.dtype(plan["dtype"]).str, "fortran_order": False, "shape": (plan["N"], plan["d"])}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def _journalled(part: Path) -> dict[int, dict[str, Any]]:
    found = {}
    for journal in sorted(part.glob("journal-*.jsonl")):
        for line in journal.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                found[int(entry["block"])] = entry
            except (ValueError, KeyError, TypeError):  # empty, or cut short by a kill
                continue
    return found


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
