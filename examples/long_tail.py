"""A long tail: some classes have many samples, others few.

RCAP gives each class a budget by its losses and draws within it; random subsets keep the shares that the data have. The
classes' shares of what was trained on tell them apart.
"""

import lightning.pytorch as pl
import torch

from dynsel import DynamicSelection
from dynsel.data import DigitsDataModule
from dynsel.models import ImageClassifier


def shares(selector: str) -> torch.Tensor:
    """Share of each class in what a training with this selector was trained on, (10,)."""
    pl.seed_everything(0)
    data = DigitsDataModule(batch_size=16, imbalance=20.0)  # the last class has a twentieth of the first one's images
    model = ImageClassifier("small_cnn", num_classes=10, in_channels=1, width=4, schedule="constant", augment=False)
    selection = DynamicSelection(selector, keep_ratio=0.3)
    trainer = pl.Trainer(
        max_epochs=6,
        callbacks=[selection],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    labels = torch.as_tensor(data.train_set.targets)
    uses = torch.zeros(10).index_add(0, labels, selection.selector.usage.float())
    return uses / uses.sum()


if __name__ == "__main__":
    for selector in ("random", "rcap"):
        found = shares(selector)
        print(f"{selector}: the five rare classes are {100 * found[5:].sum():.0f} % of what was trained on")
