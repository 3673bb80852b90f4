"""Selective backprop: draws by the rank of the loss, or the highest ones; what is not finite never stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dynsel.selectors import SelectiveBackprop


def keep(losses: list[float], count: int, beta: float | None = None) -> list[int]:
    selector = SelectiveBackprop(beta=beta)
    selector.bind(len(losses))
    return selector.keep(torch.arange(len(losses)), torch.tensor(losses), count, torch.Generator()).tolist()


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=20), st.data())
def test_the_highest_stay(losses, data):
    count = data.draw(st.integers(1, len(losses)))
    # Of equal ones the first.
    assert keep(losses, count) == sorted(sorted(range(len(losses)), key=lambda i: (-losses[i], i))[:count])


def test_what_is_not_finite_never_stays():
    assert keep([torch.nan, 0.1, torch.inf, 0.3, 0.2], 2) == [3, 4]


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"only 2 of 4 candidates have a finite loss and 3 are to be kept: training has diverged, or"
    ):
        keep([torch.nan, 0.1, -torch.inf, 0.3], 3)
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"`count` must be between 1 and the number of candidates, 2, got {count}"):
            keep([0.1, 0.2], count)


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=20), st.data())
def test_draws_the_number_asked_for(losses, data):
    count = data.draw(st.integers(1, len(losses)))
    chosen = keep(losses, count, beta=2.0)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    assert keep([*losses, torch.nan, torch.inf], count, beta=2.0)[-1] < len(losses)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_the_first_draw_follows_the_ranks(beta):
    """One of four, many times: probabilities in proportion to rank^beta."""
    selector = SelectiveBackprop(beta=beta)
    selector.bind(4)
    losses, generator = torch.tensor([0.3, 0.1, 0.9, 0.4]), torch.Generator().manual_seed(0)
    draws = [int(selector.keep(torch.arange(4), losses, 1, generator)) for _ in range(4000)]
    weights = np.array([0.375, 0.125, 0.875, 0.625]) ** beta
    assert chisquare(np.bincount(draws, minlength=4), 4000 * weights / weights.sum()).pvalue > 0.001


def test_noise_draws_in_proportion_to_the_exponential_of_the_rank():
    selector = SelectiveBackprop(beta=None, noise=0.5)
    selector.bind(4)
    losses, generator = torch.tensor([0.3, 0.1, 0.9, 0.4]), torch.Generator().manual_seed(0)
    draws = [int(selector.keep(torch.arange(4), losses, 1, generator)) for _ in range(4000)]
    weights = np.exp(np.array([0.375, 0.125, 0.875, 0.625]) / 0.5)
    assert chisquare(np.bincount(draws, minlength=4), 4000 * weights / weights.sum()).pvalue > 0.001


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_wrong_noise(noise):
    with pytest.raises(ValueError, match=r"`noise` must be at least 0( and finite)?, got"):
        SelectiveBackprop(beta=None, noise=noise)
    with pytest.raises(ValueError, match=r"`noise` is for beta=None; beta=3\.0 draws by itself"):
        SelectiveBackprop(noise=0.1)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_beta(beta):
    with pytest.raises(ValueError, match=r"`beta` must be above 0( and finite)?, got"):
        SelectiveBackprop(beta=beta)
