"""Hugging Face transformers' Trainer as the selection's driver."""

from __future__ import annotations

from typing import Any

from dynsel.samplers.controller import SelectionController
from dynsel.samplers.driver import PlainDriver

__all__ = ["TransformersDriver"]


class TransformersDriver(PlainDriver):
    """A `transformers.Trainer` as the selection's driver.

    It fetches the batches of an optimiser step before it trains on the first, so that what was delivered is not yet
    what was trained on.

    Args:
        trainer: The Trainer.
        selection: What is driven.
    """

    def __init__(self, trainer: Any, selection: SelectionController) -> None:
        super().__init__(max(1, round(trainer.args.num_train_epochs)))
        self.trainer, self.selection = trainer, selection
        self.device = trainer.args.device
        # Of the batches of the epoch.
        self.trained = 0

    def before_first_batch(self) -> None:
        """Count from the batch with which the epoch begins, or goes on after a resume."""
        self.trained = self.selection.sampler.first_batch

    def step_taken(self) -> None:
        """One more batch of the epoch was trained on."""
        self.trained += 1

    def batches_trained(self, delivered: int) -> int:
        """Batches whose step was taken, or that were before the run was resumed.

        Args:
            delivered: Batches that the loader delivered.
        """
        return min(delivered, max(self.trained, self.selection.feedback.counted))

    def progress(self, epoch: float, ahead: int = 0) -> float:
        """Share of training done, in [0, 1], by steps if their number is limited, else by epochs.

        Args:
            epoch: Epochs done, the last of them in part perhaps.
            ahead: Not used.
        """
        limit, total = self.trainer.args.max_steps, self.trainer.args.num_train_epochs
        return float(min(1.0, self.trainer.state.global_step / limit if limit > 0 else epoch / total))

    def to_device(self, batch: Any) -> Any:
        """A batch, moved to the device by accelerate.

        Args:
            batch: Whatever the loader gives.
        """
        from accelerate.utils import send_to_device

        return send_to_device(batch, self.device)
