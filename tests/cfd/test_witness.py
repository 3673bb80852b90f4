"""The witness, against what a little of a sample changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cfd.conftest import normal, off_by, oracle, seeded

from dynsel.cfd import (
    CharacteristicSums,
    cfd,
    characteristic_sums,
    gaussian_frequencies,
    random_floor,
    witness,
)


@pytest.mark.usefixtures("small_blocks")
def test_witness_is_what_a_little_of_a_sample_changes():
    features, frequencies = normal(150, 4), 0.7 * normal(50, 4, seed=1)
    now, aim = oracle(features[:20], frequencies), oracle(features, frequencies)
    waves = np.exp(1j * features.numpy().astype(float) @ frequencies.numpy().astype(float).T)
    share = 1e-6
    before = np.mean(np.abs(now - aim) ** 2)
    after = np.mean(np.abs((1 - share) * now + share * waves - aim) ** 2, axis=1)
    scores = witness(features, frequencies, torch.from_numpy(aim - now))
    constant = np.mean(np.real((aim - now).conj() * now))
    # The scores are of float32, and the change itself is known to ε².
    error = np.abs(aim - now).max() * off_by(features, frequencies, 50)
    np.testing.assert_allclose(2 * share * (scores - constant), before - after, atol=2 * share * error + 4 * share**2)
    assert scores.shape == (150,)
    assert scores.dtype == torch.float32


def test_greedy_by_witness_comes_nearer_than_chance():
    features, frequencies = normal(400, 4), gaussian_frequencies(64, 4, 0.5, seeded(1))
    aim = characteristic_sums(features, frequencies)
    chosen = torch.zeros(400, dtype=torch.bool)
    now = CharacteristicSums(torch.zeros_like(aim.cos), torch.zeros_like(aim.sin), 0.0)
    for _ in range(20):
        gap = aim.value() if not now.total else aim.value() - now.value()
        best = witness(features, frequencies, gap).masked_fill(chosen, -torch.inf).argmax()
        chosen[best] = True
        now = now + characteristic_sums(features[best][None], frequencies)
    assert float(cfd(now.value(), aim.value())) < 0.5 * random_floor(aim.value(), 20, 400)


X, T = torch.ones(4, 3), torch.ones(2, 3)
PHI = torch.ones(2, dtype=torch.complex128)
WRONG = [
    (lambda: witness(X, T, PHI[:1]), r"`gap` must be \(2,\) complex, got \(1,\)"),
    (lambda: witness(X, T, torch.ones(2)), r"`gap` must be \(2,\) complex, got \(2,\) torch.float32"),
    (lambda: witness(X, T, PHI * torch.nan), "`gap` must be finite"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_errors_say_what_and_how(call, text):
    with pytest.raises(ValueError, match=text):
        call()
