"""EpsilonGreedy: how many are the hardest, and how evenly the others are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dynsel.selection import largest_remainder
from dynsel.selectors import EpsilonGreedy, Feedback

NAN = float("nan")


def told(losses: Tensor | list[float], labels: Tensor | None = None, **options: Any) -> EpsilonGreedy:
    """A selector that heard these losses once."""
    loss = torch.as_tensor(losses)
    selector = EpsilonGreedy(**{"seed": 0, **options}, class_balance=labels is not None)
    selector.bind(len(loss), labels)
    selector.observe(Feedback(torch.arange(len(loss)), per_sample_loss=loss))
    return selector


def draws(selector: EpsilonGreedy, size: int, runs: int) -> np.ndarray:
    """(N,) how often each sample was taken in so many draws."""
    return np.bincount(
        torch.cat([selector.select(0.5, size).indices for _ in range(runs)]), minlength=len(selector.usage)
    )


# ---------------------------------------------------------------- what is taken
@given(st.integers(1, 80), st.floats(0, 1), st.floats(0, 1))
def test_the_hardest_are_taken_and_the_size_is_met(n, keep, epsilon):
    losses = torch.randperm(n, generator=torch.Generator().manual_seed(n)).float()
    size = max(1, int(keep * n))
    indices = told(losses, epsilon=epsilon).select(0.5, size).indices
    assert len(indices.unique()) == len(indices) == size
    greedy = size - int(epsilon * size + 0.5)
    assert set(losses.topk(greedy).indices.tolist()) <= set(indices.tolist())


def test_the_others_are_drawn_evenly():
    """10 of 30, 4 of them among the 24 that aren't the hardest, whatever their losses."""
    losses = torch.arange(30.0)
    runs = 1500
    taken = draws(told(losses, epsilon=0.4), 10, runs)
    assert taken[24:].tolist() == [runs] * 6
    # Without replacement the counts vary by 1 - 4/24 of a multinomial's variance times 24/23.
    statistic = stats.chisquare(taken[:24]).statistic / ((1 - 4 / 24) * 24 / 23)
    assert 0.001 < stats.chi2.sf(statistic, 23) < 0.999


@pytest.mark.parametrize(("epsilon", "always"), [(0.0, 10), (0.04, 10), (0.05, 9), (0.25, 7), (0.95, 0), (1.0, 0)])
def test_how_many_are_greedy(epsilon, always):
    taken = draws(told(torch.arange(60.0), epsilon=epsilon), 10, 60)
    assert int((taken == 60).sum()) == always


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_class_balance_is_exact_and_each_class_has_its_hardest(sizes, keep, epsilon):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(labels)
    losses = torch.randperm(n, generator=torch.Generator().manual_seed(n)).float()
    size = max(1, int(keep * n))
    indices = told(losses, labels, epsilon=epsilon).select(0.5, size).indices
    quotas = largest_remainder(sizes, size)
    assert torch.equal(torch.bincount(labels[indices], minlength=len(sizes)), quotas)
    greedy = largest_remainder(quotas, size - int(epsilon * size + 0.5))
    for c, count in enumerate(greedy.tolist()):
        mine = (labels == c).nonzero()[:, 0]
        assert set(mine[losses[mine].topk(count).indices].tolist()) <= set(indices.tolist())


def test_with_class_balance_the_others_are_drawn_evenly_in_each_class():
    labels = torch.tensor([0] * 20 + [1] * 10)
    runs = 1000
    taken = draws(told(torch.arange(30.0), labels, epsilon=0.5), 12, runs)
    assert taken[16:20].tolist() == [runs] * 4
    assert taken[28:].tolist() == [runs] * 2
    for rest, p in ((taken[:16], 4 / 16), (taken[20:28], 2 / 8)):
        statistic = stats.chisquare(rest).statistic / ((1 - p) * len(rest) / (len(rest) - 1))
        assert 0.001 < stats.chi2.sf(statistic, len(rest) - 1) < 0.999


def test_it_goes_by_the_smoothed_loss():
    selector = told([4.0, 3.0, 0.0], epsilon=0.0, smoothing=0.75)
    selector.observe(Feedback(torch.tensor([0]), per_sample_loss=torch.tensor([1.0])))
    assert selector.average.tolist() == [3.25, 3.0, 0.0]
    assert selector.select(0.5, 1).indices.tolist() == [0]
    assert told([4.0, 3.0], epsilon=0.0, smoothing=0.0).smoothing == 0.0


# ---------------------------------------------------------------- what is not known
def test_before_the_first_losses_all_is_random():
    selector = EpsilonGreedy(seed=0)
    selector.bind(1000)
    assert stats.kstest(selector.select(0.0, 300).indices.numpy() / 1000, "uniform").pvalue > 0.001


def test_every_sample_gets_a_loss_early():
    """Nine tenths of each epoch are new: 12 epochs see all of 1000, where a tenth alone would see some 110."""
    selector = EpsilonGreedy(epsilon=0.1, seed=0)
    selector.bind(1000)
    for epoch in range(12):
        indices = selector.select(epoch / 20, 100).indices
        selector.observe(Feedback(indices, per_sample_loss=torch.ones(100)))
    assert int(selector.usage.min()) == 1


def test_a_sample_whose_loss_is_never_finite_is_only_explored():
    losses = torch.arange(30.0)
    losses[20:28] = torch.nan
    selector = told(losses, epsilon=0.5)
    taken = draws(selector, 8, 400)
    assert taken[[28, 29, 18, 19]].tolist() == [400] * 4
    assert taken[20:28].max() < 150
    # Where there are more places than finite losses, chance decides and not the position.
    assert draws(told([NAN] * 7 + [1.0], epsilon=0.0), 3, 200)[:7].min() > 30


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 1.1}, r"`epsilon` must be in \[0, 1\], got 1.1; it is the share taken at random"),
        ({"epsilon": -0.1}, r"`epsilon` must be in \[0, 1\], got -0.1"),
        ({"epsilon": NAN}, r"`epsilon` must be in \[0, 1\], got nan"),
        ({"smoothing": 1.0}, r"`smoothing` must be in \[0, 1\), got 1.0; 0 takes the last loss alone"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        EpsilonGreedy(**options)
