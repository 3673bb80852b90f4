"""Exact draws: quotas, top k, class balance and weighted draws against slow references and scipy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from dynsel.selection import (
    Selection,
    balanced_top_k,
    class_balance,
    gumbel,
    largest_remainder,
    random_subsets,
    top_k,
    weighted_draw,
)

# Few different values, so that ties are the rule; NaN and infinities among them.
scores_of = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -1.0, np.nan, np.inf, -np.inf]) | st.floats(-1, 1, width=32),
)


def slow_top_k(scores: np.ndarray, k: int) -> list[int]:
    """One after the other: highest first, NaN last, equal ones by position."""
    values = [-np.inf if np.isnan(s) else s for s in scores.tolist()]
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:k])


# ---------------------------------------------------------------- Selection
def test_selection_has_the_length_of_its_indices():
    assert len(Selection(torch.tensor([4, 2, 7]))) == 3
    assert len(Selection(torch.tensor([], dtype=torch.int64))) == 0


@pytest.mark.parametrize("indices", [torch.tensor([1.0, 2.0]), torch.zeros(2, 2, dtype=torch.int64), torch.tensor(3)])
def test_selection_wants_a_list_of_integers(indices):
    with pytest.raises(ValueError, match="`indices` must be a one-dimensional integer tensor, got shape"):
        Selection(indices)


def test_selection_wants_one_weight_a_sample():
    with pytest.raises(ValueError, match=r"one entry a selected sample: expected shape \(2,\), got \(3,\)"):
        Selection(torch.tensor([0, 1]), torch.ones(3))


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_selection_wants_weights_that_can_weigh(bad):
    with pytest.raises(ValueError, match="`weights` must be finite and not negative"):
        Selection(torch.tensor([0, 1]), torch.tensor([1.0, bad]))


# ---------------------------------------------------------------- largest_remainder
@pytest.mark.parametrize(
    ("shares", "total", "quotas"),
    [
        ([50, 30, 20], 11, [6, 3, 2]),  # exact 5.5, 3.3, 2.2
        ([1, 1, 1], 4, [2, 1, 1]),  # a tie goes to the lower class
        ([47_000, 16_000, 15_800, 12_000, 6_100, 3_100], 10, [5, 2, 1, 1, 1, 0]),  # the textbook example of Hamilton
        ([5, 0, 5], 3, [2, 0, 1]),  # an empty class gets nothing
        ([3, 3], 0, [0, 0]),
        ([0.1] * 10, 10, [1] * 10),  # 0.1 has no exact binary form
    ],
)
def test_largest_remainder_by_hand(shares, total, quotas):
    assert largest_remainder(shares, total).tolist() == quotas


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40).filter(any), st.data())
def test_largest_remainder_of_class_sizes(sizes, data):
    total = data.draw(st.integers(0, sum(sizes)))
    quotas = largest_remainder(sizes, total)
    exact = np.array(sizes) * total / sum(sizes)
    assert int(quotas.sum()) == total
    assert (np.abs(quotas.numpy() - exact) < 1).all()
    assert (quotas.numpy() <= np.array(sizes)).all()
    # Equal classes differ by one at most, the larger quota at the lower class.
    for size in set(sizes):
        same = [q for q, s in zip(quotas.tolist(), sizes, strict=True) if s == size]
        assert same == sorted(same, reverse=True)
        assert max(same) - min(same) <= 1


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda shares: sum(shares) > 1e-6),
    st.integers(0, 10**6),
)
def test_largest_remainder_of_any_shares(shares, total):
    quotas = largest_remainder(shares, total)
    assert int(quotas.sum()) == total
    assert (np.abs(quotas.numpy() - np.array(shares) / sum(shares) * total) < 1 + 1e-6).all()


@pytest.mark.parametrize("shares", [[], [0, 0], [1, -1, 5], [1.0, float("nan")], [1.0, float("inf")]])
def test_largest_remainder_names_bad_shares(shares):
    with pytest.raises(ValueError, match="`shares` must be non-negative with a positive, finite sum, got"):
        largest_remainder(shares, 3)


def test_largest_remainder_names_a_bad_total():
    with pytest.raises(ValueError, match="`total` must be at least 0, got -1"):
        largest_remainder([1, 2], -1)


# ---------------------------------------------------------------- top_k
@given(scores_of, st.data())
def test_top_k_is_the_slow_one(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    assert top_k(torch.from_numpy(scores), k).tolist() == slow_top_k(scores, k)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_top_k_takes_any_type(dtype):
    assert top_k(torch.tensor([1, 5, 3, 4], dtype=dtype), 2).tolist() == [1, 3]


def test_top_k_leaves_its_scores_alone():
    scores = torch.tensor([0.3, float("nan"), 0.1])
    assert top_k(scores, 2).tolist() == [0, 2]
    assert torch.isnan(scores[1])


@pytest.mark.parametrize("k", [0, 4, -1])
def test_top_k_names_a_bad_k(k):
    with pytest.raises(ValueError, match=f"`k` must be between 1 and the number of samples, 3, got {k}"):
        top_k(torch.zeros(3), k)


# ---------------------------------------------------------------- balanced_top_k
@given(scores_of, st.data())
def test_balanced_top_k_is_the_slow_one(scores, data):
    labels = data.draw(hnp.arrays(np.int16, len(scores), elements=st.integers(0, 5)))
    k = data.draw(st.integers(1, len(scores)))
    quotas = largest_remainder(np.bincount(labels).tolist(), k).tolist()
    wanted = []
    for c, quota in enumerate(quotas):
        members = np.flatnonzero(labels == c)
        wanted += members[slow_top_k(scores[members], quota)].tolist()
    got = balanced_top_k(torch.from_numpy(scores), torch.from_numpy(labels), k)
    assert got.tolist() == sorted(wanted)
    assert len(got) == k


def test_balanced_top_k_with_quotas():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2, 0.3])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert balanced_top_k(scores, labels, quotas=[1, 2]).tolist() == [0, 4, 5]
    assert balanced_top_k(scores, labels, quotas=torch.tensor([0, 1])).tolist() == [5]


def test_balanced_top_k_of_as_many_classes_as_int32_labels_allow():
    labels = torch.arange(40_000, dtype=torch.int32).repeat(2)
    scores = torch.cat([torch.ones(40_000), torch.zeros(40_000)])
    assert torch.equal(balanced_top_k(scores, labels, 40_000), torch.arange(40_000))


def test_balanced_top_k_names_what_is_wrong():
    scores, labels = torch.rand(4), torch.tensor([0, 0, 0, 1])
    with pytest.raises(ValueError, match="give either `k` or `quotas`, got neither"):
        balanced_top_k(scores, labels)
    with pytest.raises(ValueError, match="give either `k` or `quotas`, got both"):
        balanced_top_k(scores, labels, 2, quotas=[1, 1])
    with pytest.raises(ValueError, match=r"`labels` must have shape \(4,\), got \(3,\)"):
        balanced_top_k(scores, labels[:3], 2)
    with pytest.raises(ValueError, match="`k` must be between 1 and the number of samples, 4, got 5"):
        balanced_top_k(scores, labels, 5)
    with pytest.raises(ValueError, match="`quotas` must have one entry per class: expected 2, got 3"):
        balanced_top_k(scores, labels, quotas=[1, 1, 1])
    with pytest.raises(ValueError, match="class 1 has 1 samples but its quota is 2; lower the keep ratio"):
        balanced_top_k(scores, labels, quotas=[1, 2])


# ---------------------------------------------------------------- class_balance
def test_class_balance_by_hand():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    assert class_balance(labels, torch.arange(10)) == 1.0
    # Shares 0.6, 0.3, 0.1 against 0, 0, 1: half of 0.6 + 0.3 + 0.9.
    assert class_balance(labels, torch.tensor([9])) == pytest.approx(0.1)
    # Against 1/2, 1/2, 0: half of 0.1 + 0.2 + 0.1.
    assert class_balance(labels.short(), torch.tensor([0, 6])) == pytest.approx(0.8)


# ---------------------------------------------------------------- weighted_draw
def sequential_probability(weights: list[float], chosen: tuple[int, ...]) -> float:
    """Probability to draw this set one by one, each time in proportion to the weights of those left."""
    total = 0.0
    for order in permutations(chosen):
        p, left = 1.0, sum(weights)
        for i in order:
            p *= weights[i] / left
            left -= weights[i]
        total += p
    return total


def test_weighted_draw_has_the_distribution_of_drawing_one_by_one():
    weights, k, draws = [5.0, 2.0, 1.0, 0.5, 0.0], 2, 6000
    generator = torch.Generator().manual_seed(0)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    seen = dict.fromkeys(pairs, 0)
    for _ in range(draws):
        seen[tuple(weighted_draw(torch.tensor(weights), k, generator=generator).tolist())] += 1
    expected = [draws * sequential_probability(weights, pair) for pair in pairs]
    assert sum(expected) == pytest.approx(draws)
    assert stats.chisquare(list(seen.values()), expected).pvalue > 0.01


def test_gumbel_is_the_gumbel_distribution():
    noise = gumbel(20_000, torch.Generator().manual_seed(1))
    assert torch.isfinite(noise).all()
    assert stats.kstest(noise.numpy(), stats.gumbel_r.cdf).pvalue > 0.01


def test_weighted_draw_replays_from_its_generator():
    weights = torch.rand(100, generator=torch.Generator().manual_seed(0))
    first, again = (weighted_draw(weights, 30, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.unique()) == 30


def test_weighted_draw_names_what_is_wrong():
    with pytest.raises(ValueError, match="`k` must be between 1 and the number of samples, 2, got 3"):
        weighted_draw(torch.ones(2), 3)
    with pytest.raises(ValueError, match="at least k = 2 positive entries, got 1"):
        weighted_draw(torch.tensor([1.0, 0.0]), 2)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`weights` must be finite and not negative"):
            weighted_draw(torch.tensor([1.0, bad]), 1)


# ---------------------------------------------------------------- random subsets
@given(st.integers(1, 30), st.data())
def test_random_subsets_have_their_size_and_the_shares_of_the_classes(total, data):
    size, seed = data.draw(st.integers(1, total)), data.draw(st.integers(0, 2**31))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=total, max_size=total)))
    free = random_subsets(total, size, 3, torch.Generator().manual_seed(seed))
    assert free.dtype == torch.bool
    assert free.sum(1).tolist() == [size] * 3
    balanced = random_subsets(total, size, 3, torch.Generator().manual_seed(seed), labels)
    wanted = largest_remainder(torch.bincount(labels), size).tolist()
    for members in balanced:
        assert torch.bincount(labels[members], minlength=len(wanted)).tolist() == wanted


def test_every_sample_is_in_a_random_subset_equally_often():
    """Binomial with n = 2,000 and p = 0.3: five standard deviations are 0.051."""
    labels = torch.tensor([0] * 10 + [1] * 20)
    for given_labels in (None, labels):
        found = random_subsets(30, 9, 2000, torch.Generator().manual_seed(0), given_labels).double().mean(0)
        assert (found - 0.3).abs().max() < 0.051
