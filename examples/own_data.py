"""Your own data set and LightningModule, unchanged.

The only thing that is new is the callback. It finds the loss of each sample in the training step as it is, trains every
epoch on halves of the data that are chosen in turn, and takes as many steps as before.
"""

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dynsel import DynamicSelection


class Rings(Dataset):
    """Points on two rings, and which ring each is on."""

    def __init__(self, count: int = 600) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rings = torch.arange(count) % 2
        angles = 6.3 * torch.rand(count, generator=generator)
        radii = 1.0 + self.rings + 0.3 * torch.randn(count, generator=generator)
        self.points = torch.stack([radii * angles.cos(), radii * angles.sin()], 1)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.points[index], self.rings[index]


class Net(pl.LightningModule):
    """A small network, trained as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))

    def training_step(self, batch, batch_idx):
        points, rings = batch
        return nn.functional.cross_entropy(self.layers(points), rings)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


if __name__ == "__main__":
    pl.seed_everything(0)
    selection = DynamicSelection()
    trainer = pl.Trainer(
        max_epochs=5, callbacks=[selection], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.fit(Net(), DataLoader(Rings(), batch_size=20, shuffle=True))
    print(selection.listening)  # where the losses were found
    print(selection.history[-1])
