"""Training batches on their way from the loader to `training_step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from dynsel.callbacks.lightning_names import has, refuse

__all__ = ["change_train_batches", "moves_batches"]

# What Lightning doesn't document and this module uses, as seen from the Trainer.
NEEDED_FOR_BATCHES = (
    "fit_loop.epoch_loop.batch_progress.current.ready",
    "precision_plugin.val_step_context",
    "strategy.batch_to_device",
)


def change_train_batches(
    trainer: pl.Trainer, pl_module: pl.LightningModule, change: Callable[[Any, int], Any], *, by: str
) -> Callable[[], None]:
    """Pass every training batch through a function once it is on the device.

    That is after the user's transfer hooks, of module and DataModule, and before Lightning itself, callbacks or
    `training_step` see it; other batches stay as they are. The function runs at the precision of validation.

    Args:
        trainer: Trainer that fits.
        pl_module: The module in training.
        change: Function of (batch, number of the batch in the epoch) that returns the batch to train on.
        by: Who changes batches, for messages.

    Returns:
        Undoes it; calling that again does nothing.

    Raises:
        TypeError: If `training_step` fetches its batches itself.
        RuntimeError: If this Lightning lacks a name that is needed.
    """
    if "dataloader_iter" in inspect.signature(pl_module.training_step).parameters:
        raise TypeError(
            f"`training_step(dataloader_iter)` fetches its batches itself, out of {by}'s reach; let it take `batch` "
            "and `batch_idx`, or cut the batch there"
        )
    refuse(
        trainer,
        [path for path in NEEDED_FOR_BATCHES if not has(trainer, path)],
        f"which {by} relies on. Cut the batch in `training_step` with this Lightning version.",
    )
    strategy: Any = trainer.strategy
    progress = trainer.fit_loop.epoch_loop.batch_progress
    transfer, former = strategy.batch_to_device, vars(strategy).get("batch_to_device")

    def transfer_and_change(batch: Any, *args: Any, **kwargs: Any) -> Any:
        batch = transfer(batch, *args, **kwargs)
        if not trainer.training:
            return batch
        with trainer.precision_plugin.val_step_context():
            return change(batch, progress.current.ready)

    def undo() -> None:
        if vars(strategy).get("batch_to_device") is transfer_and_change:
            del strategy.batch_to_device
            if former is not None:
                strategy.batch_to_device = former

    strategy.batch_to_device = transfer_and_change
    return undo


def moves_batches(trainer: Any, pl_module: Any) -> bool:
    """Whether the user's own transfer hooks may make other batches of the loader's, as of the other dimension first."""
    names = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    owners = [owner for owner in (pl_module, getattr(trainer, "datamodule", None)) if owner is not None]
    return any(not getattr(owner, name).__module__.endswith(".core.hooks") for owner in owners for name in names)
