"""Sentences, by whether they complain.

A batch is a dictionary, as text data often are; nothing needs to be said about it. Here the features of another model
choose: the sentences that are rare go first. Whoever has none takes `DynamicSelection()`.
"""

import itertools

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from dynsel import DynamicSelection
from dynsel.selectors import RRD

GOOD = ("was quick", "works well", "is lovely", "came on time")
BAD = ("was late", "broke at once", "never came", "is far too small")
SENTENCES = [
    {"text": f"the {thing} {said}", "label": label}
    for label, what in enumerate((GOOD, BAD))
    for thing, said in itertools.product(("parcel", "lamp", "chair", "driver", "letter", "phone"), what)
] * 5
WORDS = sorted({word for row in SENTENCES for word in row["text"].split()})


def collate(rows):
    """Word counts, (B, words), and labels."""
    counts = torch.tensor([[float(row["text"].split().count(word)) for word in WORDS] for row in rows])
    return {"counts": counts, "labels": torch.tensor([row["label"] for row in rows])}


class Complaints(pl.LightningModule):
    """Logistic regression over words."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(len(WORDS), 2)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.classify(batch["counts"]), batch["labels"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


if __name__ == "__main__":
    pl.seed_everything(0)
    features = torch.randn(
        len(WORDS), 16, generator=torch.Generator().manual_seed(0)
    )  # a sentence encoder's, in earnest
    selection = DynamicSelection(
        RRD(num_factors=32, k=4), keep_ratio=0.5, features=collate(SENTENCES)["counts"] @ features
    )
    trainer = pl.Trainer(
        max_epochs=4, callbacks=[selection], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.fit(Complaints(), DataLoader(SENTENCES, batch_size=12, shuffle=True, collate_fn=collate))
    used = trainer.callback_metrics["selection/coverage"]
    print(f"{100 * float(used):.0f} % of {len(SENTENCES)} sentences were used")
