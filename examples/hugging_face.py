"""Fine-tune a Hugging Face model (`pip install transformers`).

`model(**batch)` returns the batch's mean loss; dynsel hears the loss of each row inside. A real fine-tuning begins with
`AutoModelForSequenceClassification.from_pretrained(...)`; here a tiny one with random weights needs no download.
"""

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification

from dynsel import DynamicSelection

WORDS, LENGTH = 50, 8


def rows(count: int = 240):
    """Token numbers, and whether the first is among the upper half of the vocabulary."""
    tokens = torch.randint(1, WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": (row[0] > WORDS // 2).long()} for row in tokens]


class FineTuning(pl.LightningModule):
    """As in Lightning's own examples."""

    def __init__(self) -> None:
        super().__init__()
        size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        self.model = BertForSequenceClassification(BertConfig(vocab_size=WORDS, **size))

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    pl.seed_everything(0)
    selection = DynamicSelection(budget=0.7)  # 70 % of the steps
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[selection], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.fit(FineTuning(), DataLoader(rows(), batch_size=16, shuffle=True))
    print(selection.listening)
    print(selection.history[-1])
