"""A bar of the steps of a training that has no epochs, in place of Lightning's, which says "Epoch 0/-2"."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from rich.progress import Progress, TaskID

from dynsel._lib.console import open_console
from dynsel._lib.progress import new_bar

__all__ = ["StepBar", "show_steps"]


def show_steps(trainer: pl.Trainer) -> None:
    """Put a bar of steps where Lightning has put its own; one of the user's class, or none, stays as it is.

    Args:
        trainer: Trainer whose `max_steps` is set, before its fit.
    """
    found = trainer.progress_bar_callback
    if type(found) in (RichProgressBar, TQDMProgressBar):
        place = trainer.callbacks.index(found)  # type: ignore[attr-defined]
        trainer.callbacks[place] = StepBar()  # type: ignore[attr-defined]


class StepBar(pl.Callback):
    """Shows, on a terminal, how many of `max_steps` are done, and what the module logs with `prog_bar=True`."""

    bar: Progress | None = None
    task: TaskID

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar, on a terminal and on the first rank only; the Trainer's `max_steps` is its length."""
        if trainer.is_global_zero and open_console(stderr=True).is_terminal:
            self.bar = new_bar("steps")
            self.bar.start()
            self.task = self.bar.add_task("distilling", total=trainer.max_steps, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar to the steps done, beside the numbers that the module logs with `prog_bar=True`."""
        if self.bar is not None:
            numbers = {name: float(value) for name, value in trainer.progress_bar_metrics.items()}
            said = "".join(f", {name} {value:.3g}" for name, value in numbers.items())
            self.bar.update(self.task, completed=trainer.global_step, description=f"distilling{said}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, since Lightning calls no other hook after an exception."""
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
