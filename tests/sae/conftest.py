"""Rows made of known directions, an autoencoder fitted to them, and bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynsel.sae import SAEFit, batches, fit_sae

ATOMS, WIDTH, ACTIVE = 24, 16, 3


def planted(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows made of three of 24 random directions each, and the directions."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((ATOMS, WIDTH))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    picked = rng.random((n, ATOMS)).argsort(1)[:, :ACTIVE]
    codes = np.zeros((n, ATOMS))
    np.put_along_axis(codes, picked, rng.uniform(0.5, 1.5, (n, ACTIVE)), 1)
    rows = 4 + codes @ atoms + 0.01 * rng.standard_normal((n, WIDTH))
    return rows.astype(np.float32), atoms


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return planted()[0]


@pytest.fixture(scope="module")
def fit(rows: np.ndarray) -> SAEFit:
    return fit_sae(rows, num_factors=2 * ATOMS, k=ACTIVE + 1)


def small(**options: Any) -> SAEFit:
    features = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32)
    return fit_sae(features, **{"num_factors": 12, "k": 3, "epochs": 3, **options})


GOOD = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)


def with_bad_rows(*bad: int) -> np.ndarray:
    features = np.ones((20, 3), np.float32)
    features[list(bad), 1] = np.nan
    return features


def mapped(folder: Path, features: np.ndarray) -> np.ndarray:
    np.save(folder / "f.npy", features)
    return np.load(folder / "f.npy", mmap_mode="r")


def pools(monkeypatch: pytest.MonkeyPatch, pool_rows: int, chunk_rows: int, width: int) -> None:
    """Small pools, of float32 rows."""
    monkeypatch.setattr(batches, "POOL_BYTES", pool_rows * width * 4)
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk_rows * width * 4)
