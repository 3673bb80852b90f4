"""Draws, an oracle and small blocks that the tests of this folder share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.cfd import sums


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def oracle(features, frequencies, weights=None) -> np.ndarray:
    """The definition, in complex128."""
    x, t = (np.asarray(array, dtype=np.float64) for array in (features, frequencies))
    return np.average(np.exp(1j * x @ t.T), axis=0, weights=weights)


def off_by(features: torch.Tensor, frequencies: torch.Tensor, rows: int = 64) -> float:
    """What float32 may be off by in a characteristic function, whatever the order of its sums.

    An angle of d terms by (d + 1) u Σ |x| |t|, a sum over a block by u a row, cosine and sine by 4 u, with u = 2^-24.
    """
    largest = float((features.abs().double() @ frequencies.abs().double().T).max())
    return 2**-24 * ((features.shape[1] + 1) * largest + rows + 4)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks, the last of them short, where there would be one."""
    monkeypatch.setattr(sums, "_BLOCK_ROWS", 64)
