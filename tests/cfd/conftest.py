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


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks, the last of them short, where there would be one."""
    monkeypatch.setattr(sums, "_BLOCK_ROWS", 64)
