"""A small text classifier for Lightning, trained from scratch in seconds; it knows nothing of data selection."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from dynsel._lib.checks import check_integer, check_number
from dynsel._lib.trainers import planned_steps

__all__ = ["TextClassifier"]


class TextClassifier(pl.LightningModule):
    """Mean of learned token vectors, one hidden layer, and a linear layer over it.

    Adam with a one-cycle schedule over the steps that the Trainer foresees. Logs `train_loss`, `val_loss` and
    `val_accuracy`. Weights and dropout come from PyTorch's random state: `seed_everything` decides them.

    Args:
        num_classes: Number of classes, C.
        vocabulary: Number of tokens; number 0 stands for nothing.
        width: Length of the token vectors and of the hidden layer.
        dropout: Share of the mean vector and of the hidden layer that is left out in training, in [0, 1).
        lr: Highest learning rate.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Joulin, Grave, Bojanowski, Mikolov (2017), Bag of tricks for efficient text classification, arXiv:1607.01759
        (the mean of token vectors, pairs of words as tokens).
    """

    def __init__(
        self, num_classes: int = 77, vocabulary: int = 8000, width: int = 128, dropout: float = 0.3, lr: float = 5e-3
    ) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("vocabulary", vocabulary), ("width", width)):
            check_integer(name, value, at_least=1)
        check_number("dropout", dropout, at_least=0, below=1)
        check_number("lr", lr, above=0)
        self.save_hyperparameters()
        self.lr = lr
        self.embedding = nn.Embedding(vocabulary + 1, width, padding_idx=0)
        self.hidden = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
        self.fc = nn.Linear(width, num_classes)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 tokens to (B, num_classes) logits.

        Args:
            tokens: Numbers in [0, vocabulary]; 0 = nothing.
        """
        count = (tokens > 0).sum(1, keepdim=True).clamp_min(1)
        logits: Tensor = self.fc(self.hidden(self.embedding(tokens).sum(1) / count))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of the batch.

        Args:
            batch: (B, L) int64 tokens and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accumulate accuracy and loss.

        Args:
            batch: (B, L) int64 tokens and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """The same under the names of the test.

        Args:
            batch: (B, L) int64 tokens and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        self._evaluate(batch, "test", self.test_accuracy)

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: MulticlassAccuracy) -> None:
        logits = self(batch[0])
        accuracy(logits, batch[1])
        self.log(f"{stage}_accuracy", accuracy, prog_bar=True)
        self.log(f"{stage}_loss", F.cross_entropy(logits, batch[1]), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and the schedule stepped after each optimiser step.

        Raises:
            ValueError: If the training has no end that is known, to which the schedule has to go.
        """
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        total = planned_steps(self.trainer, "TextClassifier's learning rate goes down to an end")
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
