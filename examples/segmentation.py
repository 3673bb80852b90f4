"""Segmentation: a label for each pixel.

The loss is a mean over images and pixels. dynsel finds the pixels that belong to an image, and the image's loss is the
mean over them.
"""

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dynsel import DynamicSelection

SIZE = 16


def squares(count: int = 200) -> TensorDataset:
    """Noisy images of a square, some of them very faint, and the mask of each."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, SIZE - 6, (count, 2), generator=generator)
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    for mask, (top, left) in zip(masks, corners.tolist(), strict=True):
        mask[top : top + 6, left : left + 6] = 1
    strengths = torch.rand(count, 1, 1, generator=generator)
    images = strengths * masks + 0.1 * torch.randn(masks.shape, generator=generator)
    return TensorDataset(images[:, None], masks)


class Segmenter(pl.LightningModule):
    """Three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8, 2, 1))

    def training_step(self, batch, batch_idx):
        images, masks = batch
        return nn.functional.cross_entropy(self.layers(images), masks)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    pl.seed_everything(0)
    selection = DynamicSelection("loss", keep_ratio=0.3)
    trainer = pl.Trainer(
        max_epochs=6, callbacks=[selection], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    dataset = squares()
    trainer.fit(Segmenter(), DataLoader(dataset, batch_size=10, shuffle=True))
    uses = selection.selector.usage.float()  # how often each image was trained on
    faint = dataset.tensors[0].amax((1, 2, 3)) < 0.5
    print(f"a faint square was trained on {uses[faint].mean():.1f} times, another {uses[~faint].mean():.1f}")
