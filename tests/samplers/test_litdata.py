"""litdata's streaming data set, selected from by index through a view: the library itself, not a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from dynsel import DynamicSelection
from dynsel.samplers import IndexedView

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def sample(i: int) -> dict[str, Any]:
    return {"x": X[i].numpy(), "y": int(Y[i])}


class Frozen(pl.LightningModule):
    """Trains at learning rate 0, so that every loss told is of the weights at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 2)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch["x"]), batch["y"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


@pytest.mark.filterwarnings("ignore")
def test_samples_of_a_litdata_stream_are_told_their_own_losses(tmp_path: Path) -> None:
    litdata = pytest.importorskip("litdata")
    litdata.optimize(sample, list(range(64)), str(tmp_path / "chunks"), chunk_bytes="64KB", num_workers=1)
    stream = litdata.StreamingDataset(str(tmp_path / "chunks"), cache_dir=str(tmp_path / "cache"))
    selection, module = DynamicSelection("loss", keep_ratio=0.5), Frozen()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[selection],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(IndexedView(stream), 8, shuffle=True))
    told = selection.selector.average
    known = told.isfinite()
    assert known.sum() >= 32
    truth = F.cross_entropy(module.net(X), Y, reduction="none").detach()
    assert torch.allclose(told[known], truth[known], atol=1e-4)
