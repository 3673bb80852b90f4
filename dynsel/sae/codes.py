"""Sparse codes on disk: as many rows as the features, but only the active factors of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynsel._lib.files import full_disk, write_atomically
from dynsel._lib.matrices import Matrix
from dynsel._lib.progress import track
from dynsel.sae.model import SparseCodes, TopKSAE, encode_blocks, index_type

__all__ = ["load_codes", "save_codes"]

_FORMAT = "dynsel.codes"


def save_codes(
    path: str | os.PathLike[str],
    sae: TopKSAE,
    features: Matrix,
    *,
    batch_size: int = 4096,
    progress_bar: bool = False,
    **facts: Any,
) -> Path:
    """Encode all rows into two memory-mapped arrays and a manifest, in bounded memory.

    `x.json` is the manifest; `x.indices.npy` (N, k) int16 or int32 and `x.values.npy` (N, k) float16 lie beside it. The
    manifest is written last: without it the rest is no codes.

    Args:
        path: The manifest to write, ending in .json.
        sae: Trained autoencoder.
        features: (N, d) floating-point tensor, array or memory map.
        batch_size: Rows at a time.
        progress_bar: Show one.
        **facts: For the manifest.

    Returns:
        The path.

    Raises:
        RuntimeError: If the disk is full.
        ValueError: If the path doesn't end in .json, the width isn't the autoencoder's, or a row isn't finite.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"`path` must end in .json, got {path.name!r}")
    if features.ndim != 2 or features.shape[1] != sae.dim:
        raise ValueError(f"`features` must be (N, {sae.dim}) for this autoencoder, got {tuple(features.shape)}")
    shape = (len(features), sae.k)
    types = {"indices": str(index_type(sae)).removeprefix("torch."), "values": "float16"}
    temporary = {name: path.with_name(f".{path.stem}.{name}.{os.getpid()}") for name in types}
    path.unlink(missing_ok=True)
    try:
        with full_disk(path):
            arrays = {
                name: np.lib.format.open_memmap(temporary[name], mode="w+", dtype=types[name], shape=shape)
                for name in types
            }
            blocks = encode_blocks(sae, features, batch_size)
            total = -(-len(features) // batch_size)
            for rows, factors, activations in track(blocks, "encoding", total, show=progress_bar):
                arrays["indices"][rows] = factors.cpu().numpy()
                arrays["values"][rows] = activations.cpu().numpy()
            for name, array in arrays.items():
                array.flush()
                os.replace(temporary[name], _array_path(path, name))
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)
    manifest = {"format": _FORMAT, "N": shape[0], "k": sae.k, "num_factors": sae.num_factors, **types, **facts}
    write_atomically(path, json.dumps(manifest, indent=1))
    return path


def load_codes(path: str | os.PathLike[str]) -> SparseCodes:
    """Open what `save_codes` wrote; memory-mapped, so that only what is looked at is read.

    Args:
        path: The manifest.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file isn't what the manifest says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no sparse codes {path}")
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ValueError(f"{path} is no manifest of sparse codes; `save_codes` writes one")
    found = {}
    for name in ("indices", "values"):
        file = _array_path(path, name)
        if not file.is_file():
            raise FileNotFoundError(f"{path} says that there are codes, but {file.name} isn't beside it")
        try:
            array = np.load(file, mmap_mode="c", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{file} is truncated or damaged: {error}; encode the features again") from error
        if (array.shape, str(array.dtype)) != ((manifest["N"], manifest["k"]), manifest[name]):
            raise ValueError(f"{file} is {array.shape} {array.dtype}, {path.name} says otherwise; encode them again")
        found[name] = torch.from_numpy(array)
    return SparseCodes(found["indices"], found["values"], manifest["num_factors"])


def _array_path(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}.npy")
