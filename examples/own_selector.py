"""A selector of your own.

It prefers samples whose loss fell least between two uses. `add_state` makes numbers that survive a restart, `wants`
says what training has to tell.
"""

import lightning.pytorch as pl
import torch

from dynsel import DynamicSelection
from dynsel.data import DigitsDataModule
from dynsel.models import ImageClassifier
from dynsel.selectors import Feedback, ScoreSelector


class Stubborn(ScoreSelector):
    """What training doesn't help: the smallest fall of the loss between the last two uses."""

    wants = frozenset({"per_sample_loss"})

    def __init__(self, *, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.add_state("last", float("inf"))  # one number per sample
        self.add_state("fall", 0.0)

    def learn(self, feedback: Feedback) -> None:
        told = feedback.finite()
        before = self.last[told.indices]
        self.fall[told.indices] = torch.where(before.isfinite(), before - told.per_sample_loss, torch.zeros(()))
        self.last[told.indices] = told.per_sample_loss

    def scores(self, progress: float) -> torch.Tensor:
        return -self.fall


if __name__ == "__main__":
    pl.seed_everything(0)
    model = ImageClassifier("small_cnn", num_classes=10, in_channels=1, width=4, augment=False)
    selection = DynamicSelection(Stubborn(), keep_ratio=0.3)
    trainer = pl.Trainer(
        max_epochs=4, callbacks=[selection], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=32))
    print(selection.history[-1])
