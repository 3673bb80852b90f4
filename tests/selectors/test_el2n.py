"""EL2N against scipy's softmax."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax

from dynsel.selectors import EL2N, Feedback


def test_the_score_is_the_mean_norm_of_the_error() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(5, (30,), generator=generator)
    selector = EL2N(warmup=0.1, seed=0)
    selector.bind(30)
    norms = []
    for _ in range(3):
        logits = 3 * torch.randn(30, 5, generator=generator)
        selector.observe(Feedback(torch.arange(30), value=selector.measure(logits, targets, None)))
        norms.append(np.linalg.norm(softmax(logits.numpy(), axis=1) - np.eye(5)[targets], axis=1))
    wanted = np.mean(norms, axis=0)
    chosen = selector.select(0.5, 7).indices
    np.testing.assert_allclose(selector.final, wanted, rtol=1e-5)
    assert set(chosen.tolist()) == set(np.argsort(-wanted)[:7].tolist())
