"""The state of the shards on disk: a safetensors file for each, in a folder of its save."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from dynsel._lib.files import write_atomically
from dynsel._lib.tensor_files import read_header, read_tensors
from dynsel.selectors.shards import Shards

__all__ = ["read_shards", "remove_other_saves", "write_shards"]

MASK = "selected"


def write_shards(
    folder: Path, save_id: str, shards: Shards, tensors: Mapping[str, Tensor], mask: np.ndarray[Any, Any] | None
) -> None:
    """Write this rank's shards into `folder/save_id`, each at once or not at all; other saves there stay as they are.

    Args:
        folder: Of a checkpoint; made if need be.
        save_id: Name of the save, the same on all ranks.
        shards: Which samples are where.
        tensors: (N,) each, N samples of this rank, by name.
        mask: (N,) bool, which of them are selected; None = all.
    """
    for shard, places in zip(shards.own, shards.slices(), strict=True):
        parts = {name: tensor[places].contiguous() for name, tensor in tensors.items()}
        if mask is not None:
            parts[MASK] = torch.from_numpy(np.packbits(mask[places]))
        write_atomically(_file(folder, save_id, shard), save(parts, metadata=_facts(save_id, shards, shard)))


def read_shards(
    folder: Path, save_id: str, shards: Shards
) -> tuple[dict[str, Tensor], np.ndarray[Any, np.dtype[np.bool_]] | None]:
    """This rank's part of what ranks wrote, however many there were.

    Args:
        folder: Of a checkpoint.
        save_id: Name of the save, as the checkpoint tells it.
        shards: Which samples are where; as many shards as when it was written.

    Returns:
        (N,) tensors by name, and the (N,) mask of the selected samples; None = all.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is none, or of another save or data set.
    """
    found: list[dict[str, Tensor]] = []
    for shard in shards.own:
        path = _file(folder, save_id, shard)
        if not path.exists():
            raise FileNotFoundError(
                f"there is no {path}: the checkpoint of a sharded selection goes with its folder {folder.name}; keep "
                "and move them together"
            )
        if read_header(path, "shard") != _facts(save_id, shards, shard):
            raise ValueError(f"{path} is of another save or another data set than the checkpoint")
        found.append(read_tensors(path, what="shard"))
    masks = [parts.pop(MASK, None) for parts in found]
    if len({frozenset(parts) for parts in found}) > 1:
        raise ValueError(f"the shards in {folder} don't belong together: they hold different tensors")
    tensors = {name: torch.cat([parts[name] for parts in found]) for name in found[0]}
    if any(mask is None for mask in masks):
        return tensors, None
    bits = [
        np.unpackbits(mask.numpy())[:length].astype(bool)
        for mask, length in zip(masks, shards.lengths, strict=True)
        if mask is not None
    ]
    return tensors, np.concatenate(bits)


def remove_other_saves(folder: Path, keep: Iterable[str]) -> None:
    """Remove what earlier saves left in a checkpoint's folder, now that the checkpoint tells of these.

    Args:
        folder: Of a checkpoint.
        keep: Names of the saves that stay.
    """
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in set(keep):
            shutil.rmtree(path, ignore_errors=True)


def _file(folder: Path, save_id: str, shard: int) -> Path:
    return folder / save_id / f"shard-{shard:05d}.safetensors"


def _facts(save_id: str, shards: Shards, shard: int) -> dict[str, str]:
    facts = {"save": save_id, "shard": shard, "num_shards": shards.num_shards, "num_samples": shards.num_samples}
    return {name: str(value) for name, value in facts.items()}
