"""The small text classifier."""

from __future__ import annotations

import pytest
import torch

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
