"""Dead factors: how they are counted and revived."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sae.conftest import planted

from dynsel.sae import TopKSAE, fit_sae, training
from dynsel.sae.training import SAETraining


def dead_factors(auxiliary_weight: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Share of dead factors after a training that begins with half of them too weak to come among the top k."""
    monkeypatch.setattr(training, "AUXILIARY_WEIGHT", auxiliary_weight)
    original = TopKSAE.__init__

    def crippled(self: TopKSAE, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        with torch.no_grad():
            self.encoder[::2] *= 0.02

    monkeypatch.setattr(TopKSAE, "__init__", crippled)
    return fit_sae(planted(1000)[0], num_factors=32, k=3, epochs=30).dead_share


def test_dead_factors_revive(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        without = dead_factors(0.0, patch)
    with monkeypatch.context() as patch:
        revived = dead_factors(1 / 32, patch)
    assert without > 0.2
    assert revived < 0.5 * without


def test_factor_counts_as_idle_since_it_was_last_active() -> None:
    training = SAETraining(TopKSAE(4, 3, 2), steps=10, lr=1e-3, dead_after=5)
    values, indices = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([[0, 1], [0, 2]])
    assert training._count_idle(values, indices).tolist() == [0, 2, 0]
    assert training._count_idle(values * 0, indices).tolist() == [2, 4, 2]
