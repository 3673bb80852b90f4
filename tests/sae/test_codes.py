"""Sparse codes on disk: those of `encode`, and whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dynsel.sae import TopKSAE, encode
from dynsel.sae.codes import load_codes, save_codes

ROWS = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float16)


def sae(factors: int = 20) -> TopKSAE:
    return TopKSAE(6, factors, 3).eval().requires_grad_(False)


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_they_are_those_of_encode(batch_size: int, tmp_path: Path) -> None:
    path = save_codes(
        tmp_path / "codes.json", sae(), ROWS, batch_size=batch_size, note="from a test", progress_bar=True
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["codes.indices.npy", "codes.json", "codes.values.npy"]
    codes, expected = load_codes(path), encode(sae(), ROWS)
    assert (codes.num_factors, codes.indices.dtype, codes.values.dtype) == (20, torch.int16, torch.float16)
    assert torch.equal(codes.indices, expected.indices)
    assert torch.equal(codes.values, expected.values)
    assert torch.equal(codes.frequency(), expected.frequency())
    assert json.loads(path.read_text())["note"] == "from a test"
    # 4 bytes an active factor, whatever the number of factors.
    assert (tmp_path / "codes.indices.npy").stat().st_size == 128 + 50 * 3 * 2


def test_many_factors_need_wider_indices(tmp_path: Path) -> None:
    assert load_codes(save_codes(tmp_path / "codes.json", sae(40_000), ROWS)).indices.dtype == torch.int32


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in .json, got 'codes.npy'"):
        save_codes(tmp_path / "codes.npy", sae(), ROWS)
    with pytest.raises(ValueError, match=r"`features` must be \(N, 6\) for this autoencoder, got \(50, 5\)"):
        save_codes(tmp_path / "codes.json", sae(), ROWS[:, :5])
    bad = ROWS.copy()
    bad[31, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in row 31"):
        save_codes(tmp_path / "codes.json", sae(), bad, batch_size=8)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"there are no sparse codes .*codes.json"):
        load_codes(tmp_path / "codes.json")


def test_damaged(tmp_path: Path) -> None:
    path = save_codes(tmp_path / "codes.json", sae(), ROWS)
    values = tmp_path / "codes.values.npy"
    content = values.read_bytes()
    values.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"codes.values.npy is truncated or damaged"):
        load_codes(path)
    np.save(values, np.zeros((50, 3), np.float32))
    with pytest.raises(ValueError, match=r"codes.values.npy is \(50, 3\) float32, codes.json says otherwise"):
        load_codes(path)
    values.unlink()
    with pytest.raises(FileNotFoundError, match=r"codes.values.npy isn't beside it"):
        load_codes(path)
    for text, said in (("{", "is no JSON"), ("[]", "is no manifest of sparse codes")):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            load_codes(path)
