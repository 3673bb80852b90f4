"""The README's Python, run from the top as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.distill.dataset import save_distilled

README = Path(__file__).parents[1] / "README.md"


class YourModule(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class YourDataModule(pl.LightningDataModule):
    def __init__(self, dataset: TensorDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self) -> DataLoader[object]:
        return DataLoader(self.dataset, 4, shuffle=True)


@pytest.mark.filterwarnings("ignore")
def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # checkpoints go to the working folder
    save_distilled("runs/digits-ncfm", torch.rand(10, 1, 8, 8), torch.arange(10), list("0123456789"))
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    dataset = TensorDataset(torch.randn(20, 4), torch.arange(20) % 2)
    names = {
        "torch": torch,
        "dataset": dataset,
        "net": torch.nn.Linear(4, 2),
        "your_module": YourModule(),
        "your_datamodule": YourDataModule(dataset),
    }
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["selection"].history[-1].samples_trained == 20 * 6
