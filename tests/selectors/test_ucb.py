"""UCB: scores by the formula, and what a bandit does over many epochs."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynsel.selectors import UCB, Feedback

NAN = float("nan")


def told(losses: list[float], uses: list[int], **options: Any) -> UCB:
    """A selector that heard each loss as often as `uses` says."""
    selector = UCB(**{"seed": 0, **options})
    selector.bind(len(losses), torch.zeros(len(losses), dtype=torch.int64))
    loss, left = torch.tensor(losses), torch.tensor(uses)
    while left.any():
        indices = (left > 0).nonzero()[:, 0]
        selector.observe(Feedback(indices, per_sample_loss=loss[indices]))
        left = (left - 1).clamp_min(0)
    return selector


def run(selector: UCB, losses: torch.Tensor, epochs: int, size: int) -> UCB:
    selector.bind(len(losses))
    for epoch in range(epochs):
        indices = selector.select(epoch / epochs, size).indices
        selector.observe(Feedback(indices, per_sample_loss=losses[indices]))
    return selector


# ---------------------------------------------------------------- scores
def test_scores_by_hand():
    """Mean 2 and deviation 1 of the losses, 8 uses in all."""
    scores = told([1.0, 3.0, 3.0, 1.0], [4, 1, 2, 1], c=0.5).scores(0.5)
    bonus = [0.5 * sqrt(log(8) / n) for n in (4, 1, 2, 1)]
    assert scores.tolist() == pytest.approx([-1 + bonus[0], 1 + bonus[1], 1 + bonus[2], -1 + bonus[3]])
    assert scores.dtype == torch.float32


values = st.sampled_from([0.0, 0.1, 0.7, 2.5, 1e-30, 1e30, NAN, float("inf")])


@given(st.lists(st.tuples(values, st.integers(0, 4)), min_size=2, max_size=30), st.floats(0, 10))
def test_scores_are_the_formula(samples, c):
    losses, uses = (list(part) for part in zip(*samples, strict=True))
    scores = told(losses, uses, c=c).scores(0.5).numpy()
    assert np.isfinite(scores).all()
    n = np.array(uses)
    loss = np.array(losses, dtype=np.float32).astype(float)
    known = np.isfinite(loss) & (n > 0)
    if len(set(loss[known])) > 1:
        z = np.zeros(len(n))
        z[known] = stats.zscore(loss[known])
        wanted = z + c * np.sqrt(log(n.sum()) / np.maximum(n, 1))
        np.testing.assert_allclose(scores[n > 0], wanted[n > 0], rtol=1e-5, atol=1e-5)
    if (n == 0).any() and (n > 0).any():
        assert scores[n == 0].min() > scores[n > 0].max()


def test_averages_are_smoothed():
    selector = told([4.0, 1.0], [1, 1], smoothing=0.75)
    selector.observe(Feedback(torch.tensor([0]), per_sample_loss=torch.tensor([2.0])))
    assert selector.average.tolist() == [3.5, 1.0]
    selector.observe(Feedback(torch.tensor([1])))
    assert selector.usage.tolist() == [2, 2]


# ---------------------------------------------------------------- what is taken
def test_without_a_bonus_the_highest_losses():
    losses = torch.rand(200, generator=torch.Generator().manual_seed(2))
    selector = told(losses.tolist(), [1] * 200, c=0.0)
    assert selector.select(0.5, 30).indices.tolist() == losses.topk(30).indices.sort().values.tolist()


def test_with_a_large_bonus_the_least_used():
    selector = told([5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [3, 3, 2, 2, 1, 1], c=1e6)
    assert selector.select(0.5, 2).indices.tolist() == [4, 5]
    assert selector.select(0.5, 4).indices.tolist() == [2, 3, 4, 5]


def test_every_sample_gets_a_loss_early():
    selector = UCB(seed=0)
    selector.bind(1000)
    for epoch in range(10):
        indices = selector.select(epoch / 20, 100).indices
        if epoch < 8:
            assert stats.kstest(indices.numpy() / 1000, "uniform").pvalue > 0.001
        selector.observe(Feedback(indices, per_sample_loss=indices / 1000))
        assert int(selector.usage.max()) == 1
    assert selector.usage.tolist() == [1] * 1000


def test_in_the_long_run_all_bounds_sink_to_one_level():
    """Of constant losses: what is not up next is no higher than any other was before its last use."""
    losses, epochs, size = torch.arange(100.0) / 100, 400, 10
    selector = run(UCB(seed=0), losses, epochs, size)
    uses, z = selector.usage.numpy(), stats.zscore(losses.numpy().astype(float))
    assert uses.min() >= 1
    assert uses[:50].sum() > 60  # some of the easy half more than once
    assert (np.diff(uses) >= 0).mean() > 0.95
    now = np.sort(z + np.sqrt(log(epochs * size) / uses))
    again = uses > 1
    before = z[again] + np.sqrt(log(epochs * size) / (uses[again] - 1))
    assert now[-size - 1] <= before.min()


def test_without_a_bonus_the_easy_are_seen_once():
    uses = run(UCB(c=0.0, seed=0), torch.arange(100.0) / 100, epochs=300, size=10).usage
    assert int(uses[:80].max()) == 1


@pytest.mark.parametrize("loss", [0.0, 2.5, NAN])
def test_where_losses_say_nothing_it_rotates(loss):
    uses = run(UCB(seed=0), torch.full((60,), loss), epochs=30, size=7).usage
    assert int(uses.max()) - int(uses.min()) <= 1


def test_a_sample_whose_loss_is_never_finite_has_no_monopoly():
    losses = torch.arange(100.0) / 100
    losses[4] = torch.nan
    uses = run(UCB(seed=0), losses, epochs=200, size=10).usage
    assert int(uses[4]) == pytest.approx(int(uses[[49, 50]].float().mean()), abs=3)


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c": -1.0}, "`c` must be at least 0, got -1.0; 0 takes the highest losses only"),
        ({"c": NAN}, "`c` must be at least 0 and finite, got nan"),
        ({"c": float("inf")}, "`c` must be at least 0 and finite, got inf"),
        ({"smoothing": 1.0}, r"`smoothing` must be in \[0, 1\), got 1.0; 0 takes the last loss alone"),
        ({"smoothing": -0.1}, r"`smoothing` must be in \[0, 1\), got -0.1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        UCB(**options)
