"""RCAP: budgets against root finding, importance against its definition, and draws against their probabilities."""

from __future__ import annotations

from itertools import combinations
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dynsel.selectors import RCAP, Feedback
from dynsel.selectors.ranking import class_budgets

NAN = float("nan")


def told(losses: Tensor | list[float], labels: Tensor | list[int], **options: Any) -> RCAP:
    """RCAP that heard these losses once, before any `select`."""
    loss = torch.as_tensor(losses)
    selector = RCAP(**{"seed": 0, **options})
    selector.bind(len(loss), torch.as_tensor(labels))
    selector.observe(Feedback(torch.arange(len(loss)), per_sample_loss=loss))
    return selector


def counts(selector: RCAP, size: int) -> list[int]:
    chosen = selector.labels[selector.select(0.5, size).indices]
    return torch.bincount(chosen, minlength=int(selector.labels.max()) + 1).tolist()


# ---------------------------------------------------------------- shares of the classes
def definition(losses: np.ndarray, labels: np.ndarray, used: np.ndarray, temperature: float) -> np.ndarray:
    """sqrt(L_c P_c), class by class."""
    ceiling = log(len(np.unique(labels)))
    shares = []
    for c in np.unique(labels):
        mine = labels == c
        weights = np.exp(np.clip(np.where(np.isnan(losses), ceiling, losses), 0, ceiling)[mine] / temperature)
        shares.append(np.sqrt((weights / weights.sum())[used[mine]].sum() * mine.mean()))
    return np.array(shares)


@pytest.mark.parametrize("temperature", [1 / 3, 1.0, 3.0])
@pytest.mark.parametrize("parts", [1, 3])
def test_budgets_follow_what_was_trained_on_since_the_last_select(temperature, parts):
    """However many calls told it."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(4000) % 10 % 4  # 30, 30, 20 and 20 %
    losses = torch.rand(4000, generator=generator) * (labels + 0.5)
    losses[::7] = torch.nan
    selector = told(losses, labels, temperature=temperature)
    # All were trained on: L_c = 1.
    assert sum(counts(selector, 400)) == 400
    used = torch.rand(4000, generator=generator) < torch.tensor([0.1, 0.9, 0.4, 0.2])[labels]
    fresh = losses * 0.8
    for part in used.nonzero()[:, 0].chunk(parts):
        selector.observe(Feedback(part, per_sample_loss=fresh[part]))
    now = torch.where(used & ~fresh.isnan(), fresh, losses)
    shares = definition(now.numpy(), labels.numpy(), used.numpy(), temperature)
    wanted = class_budgets(torch.tensor(shares), torch.bincount(labels), 400)
    assert counts(selector, 400) == wanted.tolist()
    assert len(set(wanted.tolist())) == 4


def test_budgets_before_any_loss_follow_the_root_of_the_class_sizes():
    """9 : 1 in samples is 3 : 1 in budgets; within the classes the least used go first."""
    selector = RCAP(seed=0)
    selector.bind(1000, (torch.arange(1000) % 10 == 0).long())
    seen = []
    for _ in range(4):
        indices = selector.select(0.0, 100).indices
        assert torch.bincount(selector.labels[indices]).tolist() == [75, 25]
        seen += indices.tolist()
        selector.usage[indices] += 1
        selector.before = selector.usage.clone()
    assert len(set(seen)) == 400


def test_a_class_that_got_nothing_comes_back():
    """100 : 1 with a budget of 2: the rare class has less than half a sample, and still its turn."""
    labels = (torch.arange(2020) % 101 == 0).long()
    selector = told(torch.ones(2020), labels)
    taken = np.zeros(2, dtype=int)
    for _ in range(60):
        indices = selector.select(0.5, 2).indices
        taken += np.bincount(labels[indices], minlength=2)
        selector.observe(Feedback(indices, per_sample_loss=torch.ones(2)))
    assert taken.sum() == 120
    assert taken.min() > 5


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=6),
    st.floats(0.001, 1),
    st.sampled_from([1e-4, 0.3, 1.0, 50.0]),
    st.booleans(),
)
def test_the_size_is_met_on_imbalanced_classes(sizes, keep, temperature, balance):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(labels)
    generator = torch.Generator().manual_seed(n)
    losses = torch.randn(n, generator=generator).exp() * 3 - 1  # some negative, some above any log C
    losses[torch.rand(n, generator=generator) < 0.3] = torch.nan
    selector = told(losses, labels, temperature=temperature, class_balance=balance)
    size = max(1, int(keep * n))
    for epoch in range(3):
        indices = selector.select(epoch / 3, size).indices
        assert len(indices.unique()) == len(indices) == size
        selector.observe(Feedback(indices, per_sample_loss=losses[indices]))


def test_long_tail():
    """1000 to 1: the rare classes are taken whole, the others share the rest."""
    sizes = torch.tensor([10000, 1000, 100, 10])
    labels = torch.repeat_interleave(torch.arange(4), sizes)
    selector = told(torch.ones(11110), labels)
    # Roots 100, 31.6, 10 and 3.16 of 144.8: at 6,000 all but the first class are full.
    assert counts(selector, 6000) == [4890, 1000, 100, 10]
    selector.observe(Feedback(torch.arange(11110), per_sample_loss=torch.ones(11110)))
    assert counts(selector, 145) == [100, 32, 10, 3]


# ---------------------------------------------------------------- draws
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_draws_follow_the_importance(temperature):
    """Two of four, one after the other with probabilities in proportion to the importance of those left."""
    losses = [0.0, 0.3, 0.6, 5.0]  # the last one is clipped to log 2
    weights = np.exp(np.minimum(losses, log(2)) / temperature)
    p = weights / weights.sum()
    pairs = list(combinations(range(4), 2))
    probabilities = [p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in pairs]
    selector = told([*losses, *losses], [0] * 4 + [1] * 4, temperature=temperature)
    runs = 2000
    drawn = [selector.select(0.5, 4).indices.tolist() for _ in range(runs)]
    for first in (0, 4):
        seen = [tuple(i - first for i in chosen if first <= i < first + 4) for chosen in drawn]
        observed = [seen.count(pair) for pair in pairs]
        assert sum(observed) == runs
        assert stats.chisquare(observed, np.array(probabilities) * runs).pvalue > 0.001


def test_unknown_losses_count_as_clipped():
    """As if they were log 2, also for a loss that was told as infinite."""
    selector = told([0.1, NAN, float("inf"), 9.0], [0, 0, 0, 1], temperature=0.01)
    drawn = np.bincount(torch.cat([selector.select(0.5, 2).indices for _ in range(400)]), minlength=4)
    assert drawn[0] == 0
    assert drawn[3] == 400
    assert stats.binomtest(int(drawn[1]), 400).pvalue > 0.001


def test_another_ceiling():
    selector = told([0.1, 3.0, 4.0, 9.0], [0] * 4, temperature=0.05, max_loss=4.0)
    drawn = np.bincount(torch.cat([selector.select(0.5, 1).indices for _ in range(200)]), minlength=4)
    assert drawn[:2].tolist() == [0, 0]
    assert drawn[2:].min() > 50


def test_with_class_balance_only_the_draws_are_by_loss():
    labels = torch.tensor([0] * 90 + [1] * 10)
    selector = told(torch.arange(100) / 150, labels, temperature=1e-4, class_balance=True)
    assert selector.select(0.5, 10).indices.tolist() == [*range(81, 90), 99]


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be above 0, got 0.0; 1 by default"),
        ({"temperature": NAN}, "`temperature` must be above 0 and finite, got nan"),
        ({"temperature": float("inf")}, "`temperature` must be above 0 and finite, got inf"),
        ({"max_loss": 0.0}, "`max_loss` must be above 0, got 0.0; None takes log C for C classes"),
        ({"max_loss": NAN}, "`max_loss` must be above 0 and finite, got nan"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        RCAP(**options)


def test_it_needs_labels():
    assert RCAP().needs_labels
    with pytest.raises(ValueError, match=r"RCAP needs labels; pass `labels=`$"):
        RCAP().bind(10)
