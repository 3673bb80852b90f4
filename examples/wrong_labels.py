"""Wrong labels: a fifth of them are.

Samples with wrong labels have high losses, so whoever prefers high losses trains on them. The default goes by what the
model is unsure of, and looks at no label.
"""

import lightning.pytorch as pl

from dynsel import DynamicSelection
from dynsel.data import DigitsDataModule
from dynsel.models import ImageClassifier


def wrong_share(selector: str) -> float:
    """Share of wrong labels in what a training with this selector was trained on."""
    pl.seed_everything(0)
    data = DigitsDataModule(batch_size=32, label_noise=0.2)
    model = ImageClassifier("small_cnn", num_classes=10, in_channels=1, width=4, schedule="constant", augment=False)
    selection = DynamicSelection(selector, keep_ratio=0.3)
    trainer = pl.Trainer(
        max_epochs=10,
        callbacks=[selection],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    uses = selection.selector.usage.float()
    return float(uses[data.train_set.wrong].sum() / uses.sum())


if __name__ == "__main__":
    for selector in ("random", "loss", "hybrid"):
        print(f"{selector}: {100 * wrong_share(selector):.0f} % of what was trained on had a wrong label")
