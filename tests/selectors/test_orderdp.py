"""OrderDP: its two steps beside the law of an order statistic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from dynsel.selectors import Feedback, OrderDP


def told(losses: torch.Tensor, **options: object) -> OrderDP:
    selector = OrderDP(seed=0, **options)
    selector.bind(len(losses), torch.arange(len(losses)) % 3)
    selector.observe(Feedback(torch.arange(len(losses)), per_sample_loss=losses))
    return selector


def test_the_published_pool_is_half_at_the_published_ratio():
    """Sample r (r others are harder) is taken if it is in the pool with less than q harder ones."""
    n, s, q, epochs = 40, 20, 12, 4000
    selector = told(torch.arange(n, 0, -1.0))
    counts = np.zeros(n)
    for _ in range(epochs):
        chosen = selector.select(0.5, q)
        assert chosen.weights is None
        counts[chosen.indices.numpy()] += 1
    # The pool's other s - 1 are drawn from n - 1, of which r are harder.
    expected = np.array([s / n * hypergeom(n - 1, r, s - 1).cdf(q - 1) for r in range(n)])
    assert expected.sum() == pytest.approx(q)
    error = np.sqrt(expected * (1 - expected) / epochs)
    assert (np.abs(counts / epochs - expected) <= 5 * error + 1e-3).all()


@given(st.integers(2, 40), st.integers(1, 40), st.floats(0.05, 1), st.booleans(), st.integers(0, 99))
def test_what_is_taken_are_the_highest_of_a_pool(n, size, top_share, balance, seed):
    losses = torch.randint(0, 5, (n,), generator=torch.Generator().manual_seed(seed)).float()
    chosen = told(losses, top_share=top_share, class_balance=balance).select(0.5, min(size, n)).indices
    assert len(chosen.unique()) == min(size, n)


def test_from_its_own_share_on_the_pool_is_everything():
    losses = torch.rand(50, generator=torch.Generator().manual_seed(1))
    wanted = losses.topk(35).indices.sort().values
    assert torch.equal(told(losses).select(0.5, 35).indices, wanted)


def test_what_has_no_loss_comes_first():
    losses = torch.full((20,), 5.0)
    losses[[3, 8, 11]] = torch.nan
    assert {3, 8, 11} <= set(told(losses).select(0.5, 12).indices.tolist())


def test_equal_losses_are_a_random_subset():
    selector = told(torch.ones(30))
    counts = sum(torch.bincount(selector.select(0.5, 9).indices, minlength=30) for _ in range(1000))
    assert (counts - 300).abs().max() < 5 * (1000 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("wrong", [0.0, 1.1, -1.0])
def test_a_share_beyond_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`top_share` must be in \(0, 1\]"):
        OrderDP(top_share=wrong)
