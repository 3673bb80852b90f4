"""Autoencoders on disk: the same ones, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynsel.sae import SAEFit, TopKSAE, encode, load_sae, save_sae


def test_save_and_load(fit: SAEFit, rows: np.ndarray, tmp_path: Path) -> None:
    save_sae(fit.sae, tmp_path / "sae.safetensors")
    loaded = load_sae(tmp_path / "sae.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["sae.safetensors"]
    before, after = encode(fit.sae, rows), encode(loaded, rows)
    assert torch.equal(before.indices, after.indices)
    assert torch.equal(before.values, after.values)
    assert (loaded.k, loaded.num_factors, loaded.dim) == (fit.sae.k, fit.sae.num_factors, fit.sae.dim)


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sae.safetensors"
    save_sae(TopKSAE(2, 4, 1), path)

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_sae(TopKSAE(3, 6, 1), path)
    assert load_sae(path).dim == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_load_refuses_other_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError):
        load_sae(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a safetensors file at all")
    with pytest.raises(ValueError, match="is no safetensors file, or a damaged one"):
        load_sae(tmp_path / "text.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"holds no autoencoder written by `save_sae`; it has \['weight'\]"):
        load_sae(tmp_path / "other.safetensors")
