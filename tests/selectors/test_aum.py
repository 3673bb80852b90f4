"""AUM by a loop over samples, and what it is for: wrong labels."""

from __future__ import annotations

import numpy as np
import torch

from dynsel.selectors import AUM, Feedback


def test_the_area_is_the_mean_margin() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(4, (20,), generator=generator)
    selector = AUM(warmup=0.1, seed=0)
    selector.bind(20)
    areas = np.zeros(20)
    for _ in range(5):
        logits = torch.randn(20, 4, generator=generator)
        selector.observe(Feedback(torch.arange(20), value=selector.measure(logits, targets, None)))
        for i, (row, target) in enumerate(zip(logits.tolist(), targets.tolist(), strict=True)):
            areas[i] += (row[target] - max(value for c, value in enumerate(row) if c != target)) / 5
    chosen = selector.select(0.5, 6).indices
    np.testing.assert_allclose(selector.final, -areas, atol=1e-6)
    assert set(chosen.tolist()) == set(np.argsort(areas)[:6].tolist())
