"""A training that takes a blink, for commands that are given odd options."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Net(pl.LightningModule):
    """One linear layer.

    Args:
        lr: Learning rate.
        metric: Name under which the accuracy is logged.
        weights: Number of weights that are of no use but take room in a checkpoint.
    """

    def __init__(self, lr: float = 0.1, metric: str = "val_accuracy", weights: int = 1) -> None:
        super().__init__()
        self.lr, self.metric = lr, metric
        self.layer = torch.nn.Linear(4, 2)
        self.ballast = torch.nn.Parameter(torch.zeros(weights))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layer(batch[0]), batch[1]) + 0 * self.ballast.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log(self.metric, (self.layer(batch[0]).argmax(1) == batch[1]).float().mean())

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


class Data(pl.LightningDataModule):
    """Forty samples.

    Args:
        batch_size: Samples of a batch.
    """

    def __init__(self, batch_size: int = 10) -> None:
        super().__init__()
        self.batch_size = batch_size
        rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        self.data: Dataset[Any] = TensorDataset(rows, torch.arange(40) % 2)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, self.batch_size)

    test_dataloader = predict_dataloader = val_dataloader


class Photos(Data):
    """Images in folders.

    Args:
        root: Folder of the classes' folders.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root

    def setup(self, stage: str) -> None:
        from torchvision.datasets import ImageFolder

        self.data = ImageFolder(self.root)
