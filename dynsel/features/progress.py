"""The bar of an extraction, in samples."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from dynsel._lib.progress import new_bar

__all__ = ["SampleProgress"]


class SampleProgress(pl.Callback):
    """Samples done, samples per second of all ranks together, and time left, on rank 0 of an extraction."""

    def on_predict_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Show the bar.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The extraction.
        """
        if not trainer.is_global_zero:
            return
        self.bar = new_bar("samples")
        total, todo = pl_module.plan["N"], sum(stop - start for start, stop in pl_module.rows)
        # Other ranks are about as fast and have about as much to do.
        done = max(0, total - todo * trainer.world_size)
        self.task = self.bar.add_task("extracting", total=total, completed=done)
        self.bar.start()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Move the bar by the samples of a batch, times the number of ranks.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The extraction.
            outputs: What the step returned; not used.
            batch: The batch; not used.
            batch_idx: Number of the batch.
            dataloader_idx: Number of the loader; there is one only.
        """
        if trainer.is_global_zero:
            start, stop = pl_module.rows[batch_idx]
            self.bar.advance(self.task, (stop - start) * trainer.world_size)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the bar away.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The extraction.
        """
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Take the bar away.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The extraction.
            exception: What went wrong; not used.
        """
        self._stop()

    def _stop(self) -> None:
        if getattr(self, "bar", None) is not None:
            self.bar.stop()
