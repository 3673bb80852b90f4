"""The shards of a selection, written and removed with Lightning's checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from dynsel.samplers.controller import SelectionController
from dynsel.samplers.sharded.files import remove_other_saves

__all__ = ["folder_of", "keep_beside_checkpoints"]


def folder_of(checkpoint: str | os.PathLike[str]) -> Path:
    """Where the shards of a checkpoint are: a folder of its name and `.dynsel`; of what a link leads to.

    Args:
        checkpoint: Path of the checkpoint, a file or a folder.

    Raises:
        ValueError: If it isn't on a file system.
    """
    text = os.fspath(checkpoint)
    if "://" in text:
        raise ValueError(
            f"shards are written beside the checkpoint by every rank, and {text} is no path of a file system: give "
            "ModelCheckpoint a `dirpath` that all ranks can write to"
        )
    beside = Path(f"{text.rstrip('/')}.dynsel")
    return beside if beside.exists() or not os.path.islink(text) else Path(f"{os.path.realpath(text)}.dynsel")


def keep_beside_checkpoints(trainer: pl.Trainer, controller: SelectionController) -> Callable[[], None]:
    """Have every rank write its shards before Lightning writes a checkpoint, and remove them with it.

    A save has a name that the checkpoint tells. Shards of the checkpoint that is replaced go once the new one stands,
    so that a process that is killed anywhere leaves a checkpoint with its shards.

    Args:
        trainer: Its strategy's `save_checkpoint` and `remove_checkpoint` are wrapped; every rank calls them.
        controller: Of a sharded selection.

    Returns:
        Undoes it; calling that again does nothing.
    """
    strategy: Any = trainer.strategy
    save, remove = strategy.save_checkpoint, strategy.remove_checkpoint
    former = {name: vars(strategy).get(name) for name in ("save_checkpoint", "remove_checkpoint")}

    def save_with_shards(checkpoint: dict[str, Any], filepath: Any, *args: Any, **kwargs: Any) -> None:
        states = [state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, dict)]
        saves = [state["shards"] for state in states if isinstance(state.get("shards"), str)]
        if mine := controller.sharding.epochs_of(controller.epochs).pending in saves:
            folder = folder_of(filepath)
            controller.write_shards(folder)
            strategy.barrier("dynsel's shards")
        save(checkpoint, filepath, *args, **kwargs)
        if mine and trainer.is_global_zero:
            remove_other_saves(folder, saves)

    def remove_with_shards(filepath: Any) -> None:
        remove(filepath)
        if trainer.is_global_zero:
            shutil.rmtree(folder_of(filepath), ignore_errors=True)

    def undo() -> None:
        for name, ours in (("save_checkpoint", save_with_shards), ("remove_checkpoint", remove_with_shards)):
            if vars(strategy).get(name) is ours:
                delattr(strategy, name)
                if former[name] is not None:
                    setattr(strategy, name, former[name])

    strategy.save_checkpoint, strategy.remove_checkpoint = save_with_shards, remove_with_shards
    return undo
