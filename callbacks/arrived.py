"""A training batch that has arrived on the device: which samples it holds, and which of them stay."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from dynsel._lib.batches import batch_size, cut, scored
from dynsel.callbacks.flops import FlopCounter
from dynsel.samplers.controller import SelectionController

__all__ = ["part_to_train_on"]


def part_to_train_on(
    controller: SelectionController,
    flops: FlopCounter,
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    batch: Any,
    batch_idx: int,
) -> Any:
    """The batch, or the part of it that the losses of its samples select, once it is known which samples it holds.

    Args:
        controller: What decides the selections; told of what stays.
        flops: Counts what scoring takes.
        trainer: Trainer of the fit.
        pl_module: Module in training, which scores.
        batch: Batch on the module's device; None is left as it is.
        batch_idx: Batch of the current epoch.
    """
    if batch is None:
        return batch
    if controller.arrivals.where is not None:
        controller.look_at(batch_idx, batch)
    if not controller.cuts_batches:
        return batch
    size, draws = batch_size(batch), (trainer.current_epoch, batch_idx, trainer.global_rank)

    def losses() -> Any:
        with flops.scoring(pl_module, size):
            return scored(controller.driver.per_sample_loss, pl_module, batch, size, key=draws)

    ratio = controller.epochs.round.keep_ratio
    kept = controller.chooser.cut(controller.feedback, batch_idx, size, ratio, losses)
    return batch if kept is None else cut(batch, kept, size)
