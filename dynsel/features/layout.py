"""What a feature store is on disk: where its parts lie, and what its manifest says.

A store `x.npy` has its manifest in `x.npy.json`. While it is being written it is a folder `x.npy.part`: the array under
construction (`data`), what is being made (`plan.json`), and for each writer a journal of the blocks that are
finished, with their checksums. The array is moved out when all blocks are there and the manifest is written last, so
an interrupted store never looks whole, and goes on at its first missing block.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.files import write_atomically
from dynsel.features.fingerprint import describe_difference, fingerprint

__all__ = [
    "FORMAT",
    "block_rows",
    "check_fingerprint",
    "checksum",
    "is_finished",
    "manifest_path",
    "part_path",
    "plan_difference",
    "read_journals",
    "read_json",
    "read_manifest",
    "read_plan",
    "write_manifest",
    "wrong_fingerprint",
]

FORMAT = "dynsel.features"
_ANEW = "delete that folder, and extract the features anew"


def manifest_path(path: Path) -> Path:
    """Where the manifest of a `.npy` file lies.

    Args:
        path: Path of the store's `.npy` file.
    """
    return path.with_name(f"{path.name}.json")


def part_path(path: Path) -> Path:
    """The folder of a store that is being written.

    Args:
        path: The `.npy` file to be.
    """
    return path.with_name(f"{path.name}.part")


def is_finished(path: Path) -> bool:
    """Whether there is a whole array, with nothing left to be written to it.

    Args:
        path: The `.npy` file.
    """
    return path.exists() and not (part_path(path) / "plan.json").exists()


def block_rows(plan: Mapping[str, Any], block: int) -> slice:
    """The rows of a block.

    Args:
        plan: Plan or manifest with `N` and `block_rows`.
        block: Number of the block, from 0.
    """
    return slice(block * plan["block_rows"], min((block + 1) * plan["block_rows"], plan["N"]))


def checksum(rows: NDArray[Any]) -> str:
    """SHA-256 of the values of these rows, its first 32 hexadecimal digits.

    Args:
        rows: (B, d) array of any type; its bytes count.
    """
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:32]


def read_journals(part: Path) -> dict[int, dict[str, Any]]:
    """The blocks that are finished, by number: `block`, `sha256`, and `skipped` rows.

    Args:
        part: Folder of a store that is being written.
    """
    found = {}
    for journal in sorted(part.glob("journal-*.jsonl")):
        for line in journal.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # empty, or cut short by a kill
                continue
            if _is_journal_entry(entry):
                found[entry["block"]] = entry
    return found


def _is_journal_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not _is_count(entry.get("block"), 0) or not isinstance(entry.get("sha256"), str):
        return False
    skipped = entry.get("skipped")
    return isinstance(skipped, list) and all(_is_count(row, 0) for row in skipped)


def read_plan(part: Path) -> dict[str, Any]:
    """What the store will hold that is being written.

    Args:
        part: Folder of the store.

    Raises:
        FileNotFoundError: If nobody has begun it, or on a disk that this machine doesn't see.
        ValueError: If it is no plan; says what to do.
    """
    path = part / "plan.json"
    if not path.is_file():
        raise FileNotFoundError(f"{part} isn't there: the store must lie on a disk that every process and machine sees")
    plan = read_json(path)
    needed = ("N", "d", "dtype", "block_rows", "blocks")
    if not isinstance(plan, dict) or not set(needed) <= set(plan):
        raise ValueError(f"{path} is damaged: it must say {', '.join(needed)}; {_ANEW}")
    if wrong := _wrong_entry(plan):
        raise ValueError(f"{path} is damaged: {wrong}; {_ANEW}")
    return plan


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Args:
        path: The file, in UTF-8.

    Raises:
        ValueError: If it is no JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 alike
        raise ValueError(f"{path} is no JSON: {error}; write the features again") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a `.npy` file.

    Args:
        path: Path of the store's `.npy` file.

    Raises:
        ValueError: If it isn't one, or says what can't be; names the entry.
    """
    manifest = read_json(manifest_path(path))
    if not isinstance(manifest, dict) or not {"N", "d", "dtype"} <= set(manifest):
        raise ValueError(f"{manifest_path(path)} is no manifest of features: it says neither N, d nor dtype")
    if wrong := _wrong_entry(manifest):
        raise ValueError(f"{manifest_path(path)} is damaged: {wrong}; write the features again")
    return manifest


def _wrong_entry(manifest: Mapping[str, Any]) -> str | None:
    """The first entry that no manifest could have, in words."""
    for name in ("N", "d", "block_rows", "bytes", "blocks"):
        if name in manifest and not _is_count(manifest[name]):
            return f"its {name} is {manifest[name]!r}"
    if manifest["dtype"] not in ("float16", "float32", "float64"):
        return f"its dtype is {manifest['dtype']!r}"
    checksums = manifest.get("checksums", [])
    if not isinstance(checksums, list) or not all(isinstance(value, str) for value in checksums):
        return "its checksums are no list of texts"
    if checksums and "block_rows" not in manifest:
        return "it has checksums, but no block_rows"
    if checksums and len(checksums) != -(-manifest["N"] // manifest["block_rows"]):
        return f"it has {len(checksums)} checksums for {manifest['N']} rows in blocks of {manifest['block_rows']}"
    skipped = manifest.get("skipped", [])
    if not isinstance(skipped, list) or not all(_is_count(row, 0) and row < manifest["N"] for row in skipped):
        return f"its skipped rows must be in [0, {manifest['N']})"
    if "blocks" in manifest and manifest["blocks"] != -(-manifest["N"] // manifest["block_rows"]):
        return f"its blocks are {manifest['blocks']}"
    wrong = [name for name in ("fingerprint", "extractor") if not isinstance(manifest.get(name), dict | None)]
    return f"its {wrong[0]} is no mapping" if wrong else wrong_fingerprint(manifest.get("fingerprint") or {})


def wrong_fingerprint(found: Mapping[str, Any]) -> str | None:
    """The first entry that no fingerprint could have, in words; None if all could be.

    Args:
        found: A fingerprint, as it was read from JSON.
    """
    for name in ("classes", "order", "items"):
        if not isinstance(found.get(name, []), list):
            return f"the {name} of its fingerprint are no list"
    if len(found.get("order", [0, 0])) != 2:
        return "the order in its fingerprint is no pair"
    return None


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a `.npy` file, whole or not at all.

    Args:
        path: Path of the store's `.npy` file.
        manifest: Plain values for JSON.
    """
    write_atomically(manifest_path(path), json.dumps(manifest, indent=1))


def check_fingerprint(path: Path, manifest: Mapping[str, Any], dataset: Any) -> None:
    """Compare the data set that features were computed for with this one.

    Args:
        path: The `.npy` file, for the message.
        manifest: Manifest of that file; without a fingerprint in it there is nothing to compare.
        dataset: Map-style data set.

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


def plan_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """In what two plans or manifests differ, in words.

    Args:
        a: Plan of the store that is there.
        b: Plan that is wanted now.

    Returns:
        None if nothing differs that determines the features.
    """
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
