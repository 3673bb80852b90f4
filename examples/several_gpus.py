"""Several GPUs, or here two processes on a CPU.

Nothing is to be done: every rank trains on its own part of the same selection, and what each learned of its samples is
gathered before the next one is chosen. Run it by `python examples/several_gpus.py`.
"""

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dynsel import DynamicSelection


class Net(pl.LightningModule):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.layers(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    pl.seed_everything(0)
    x = torch.randn(400, 8)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > x[:, 1]).long()), batch_size=10, shuffle=True)
    selection = DynamicSelection(keep_ratio=0.5)
    trainer = pl.Trainer(
        max_epochs=3,
        callbacks=[selection],
        accelerator="cpu",  # "gpu"
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Net(), loader)
    record = selection.history[-1]
    print(f"rank {trainer.global_rank}: {record.samples_trained} samples on both ranks, in {trainer.global_step} steps")
