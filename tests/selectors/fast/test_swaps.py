"""FAST's exchanges: waves by the distance that they stand for, and ends as low as trying all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.cfd import characteristic_sums, gaussian_frequencies, phase_decoupled
from dynsel.selectors.fast import FAST
from dynsel.selectors.fast.swaps import swap, swap_waves


def test_waves_measure_the_phase_decoupled_distance():
    """To second order: exact enough for subsets that are near."""
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(3))
    settings = FAST(num_frequencies=256).settings
    waves = swap_waves(x, 0.4, None, 1000, settings, seed=5)
    generator = torch.Generator().manual_seed(5)
    t = torch.cat([gaussian_frequencies(n, 4, s, generator) for n, s in ((64, 0.4), (64, 0.8), (128, 0.4))])
    half = torch.randperm(2000, generator=generator)[:1000]
    now, aim = characteristic_sums(x[half], t).value(), characteristic_sums(x, t).value()
    # The weight of a phase is that of |φ|² + 1 / M: where that is small against |φ|², it is the paper's.
    loud = aim.abs() > 0.2
    squares = (waves[half].mean(0) - waves.mean(0)).square() * len(t)
    ours = (squares[: len(t)] + squares[len(t) :])[loud].mean()
    assert float(ours) == pytest.approx(float(phase_decoupled(now, aim, t)[loud].mean()), rel=0.05)


def naive_swaps(chosen: set[int], waves: np.ndarray) -> float:
    """Best single exchange again and again, by trying all."""
    aim, best = waves.mean(0), np.inf
    while True:
        now = np.square(waves[sorted(chosen)].mean(0) - aim).sum()
        if now >= best - 1e-9:
            return float(best)
        best = now
        pairs = [
            (float(np.square(waves[sorted(chosen - {i} | {j})].mean(0) - aim).sum()), i, j)
            for i in sorted(chosen)
            for j in range(len(waves))
            if j not in chosen
        ]
        _, i, j = min(pairs)
        chosen = chosen - {i} | {j} if min(pairs)[0] < now else chosen


def test_exchanges_end_as_low_as_trying_all_of_them():
    waves = torch.randn(30, 12, generator=torch.Generator().manual_seed(2))
    chosen = swap(torch.arange(8), waves)
    ours = float((waves[chosen].mean(0) - waves.mean(0)).square().sum())
    start = float((waves[:8].mean(0) - waves.mean(0)).square().sum())
    assert len(chosen.unique()) == 8
    assert ours < 0.5 * start
    assert ours < 1.5 * naive_swaps(set(range(8)), waves.numpy())


def test_exchanges_never_raise_the_uses():
    waves = torch.randn(60, 20, generator=torch.Generator().manual_seed(2))
    usage = torch.arange(60, dtype=torch.int32) // 20
    chosen = swap(torch.arange(20, 40), waves, usage)
    assert (usage[chosen] <= 1).all()
    assert chosen.tolist() != list(range(20, 40))
    assert swap(torch.arange(60), waves).tolist() == list(range(60))
