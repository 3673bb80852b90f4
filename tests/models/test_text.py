"""The small text classifier."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.models import TextClassifier


def test_padding_is_ignored() -> None:
    module = TextClassifier(3, 10, 4).eval()
    tokens = torch.tensor([[3, 5, 0, 0]])
    torch.testing.assert_close(module(tokens), module(tokens[:, :2]))
    assert torch.isfinite(module(torch.zeros(1, 4, dtype=torch.int64))).all()


def test_wrong_arguments_are_named() -> None:
    for name, value in (("num_classes", 0), ("vocabulary", 0), ("width", 0)):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
            TextClassifier(**{name: value})
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\), got 1.0"):
        TextClassifier(dropout=1.0)
    with pytest.raises(ValueError, match="`lr` must be above 0, got 0"):
        TextClassifier(lr=0)


def test_a_training_without_end_is_refused() -> None:
    data = TensorDataset(torch.randint(1, 9, (8, 5)), torch.randint(0, 3, (8,)))
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=-1, max_time="00:00:00:05", **options)
    with pytest.raises(ValueError, match="goes down to an end: set max_steps or max_epochs"):
        trainer.fit(TextClassifier(3, 10, 4), DataLoader(data, 4))
