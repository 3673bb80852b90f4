"""What several methods are made of: ranks by scipy's, averages by hand, budgets by root finding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.stats import rankdata

from dynsel.selectors.ranking import class_budgets, loss_rank, rank_within_class, update_average

NAN = float("nan")


some_losses = st.lists(st.sampled_from([0.0, -0.0, 0.25, 1.5, 9.0, NAN]), min_size=1, max_size=40)


@given(some_losses)
def test_ranks_are_scipys(losses):
    values = np.array(losses, dtype=np.float32)
    known = ~np.isnan(values)
    wanted = np.ones(len(values))
    wanted[known] = (stats.rankdata(values[known], method="average") - 0.5) / max(1, known.sum())
    ranks = loss_rank(torch.from_numpy(values))
    np.testing.assert_allclose(ranks, wanted, atol=1e-6)
    assert ranks.dtype == torch.float32


@given(some_losses, st.floats(0, 0.99), st.randoms())
def test_ranks_go_with_the_loss_whatever_the_order(losses, clip, random):
    shuffled = list(range(len(losses)))
    random.shuffle(shuffled)
    ranks = loss_rank(torch.tensor(losses), clip)
    assert torch.equal(loss_rank(torch.tensor(losses)[shuffled], clip), ranks[shuffled])
    assert bool(((ranks > 0) & (ranks <= 1)).all())


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60, unique=True), st.floats(0, 0.99))
def test_the_clipped_rank_lowest_and_the_others_keep_their_order(losses, clip):
    loss = torch.tensor(losses)
    order = loss_rank(loss, clip).argsort()
    ascending = loss.argsort()
    clipped = int(clip * len(losses) + 0.5)
    wanted = torch.cat([ascending.flip(0)[:clipped], ascending[: len(losses) - clipped]])
    assert torch.equal(order, wanted)


def test_ranks_by_hand():
    assert loss_rank(torch.tensor([3.0, 1.0, 1.0, 2.0])).tolist() == [0.875, 0.25, 0.25, 0.625]
    assert loss_rank(torch.tensor([7.0])).tolist() == [0.5]
    assert loss_rank(torch.tensor([NAN, NAN])).tolist() == [1.0, 1.0]
    assert loss_rank(torch.tensor([7.0] * 4), clip=0.25).tolist() == [0.75] * 4


def test_averages_by_hand():
    average = torch.tensor([NAN, 4.0, 4.0, 4.0, NAN])
    loss = torch.tensor([2.0, 2.0, NAN, torch.inf, NAN])
    assert update_average(average, torch.arange(5), loss, 0.75) is average
    assert average[:4].tolist() == [2.0, 3.5, 4.0, 4.0]
    assert bool(average[4].isnan())


@given(
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.just(NAN), st.floats(0, 9, width=32))), max_size=30),
    st.floats(0, 0.9),
)
def test_several_losses_of_a_sample_count_once_by_their_mean(rows, smoothing):
    start = torch.tensor([1.0, NAN, 3.0, NAN, 5.0, 6.0])
    wanted = start.double().clone()
    for i in range(6):
        values = [loss for j, loss in rows if j == i and loss == loss]
        if values:
            mean = float(np.mean(values))
            wanted[i] = mean if wanted[i].isnan() else smoothing * wanted[i] + (1 - smoothing) * mean
    for order in (rows, rows[::-1]):
        indices = torch.tensor([i for i, _ in order], dtype=torch.int64)
        loss = torch.tensor([value for _, value in order], dtype=torch.float32)
        got = update_average(start.clone(), indices, loss, smoothing)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_what_float32_cant_hold_is_passed_over():
    average = torch.tensor([1.0, 1.0])
    update_average(average, torch.tensor([0, 1]), torch.tensor([1e300, 3.0], dtype=torch.float64), 0.0)
    assert average.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_losses_of_any_precision_and_with_gradient(dtype):
    loss = torch.tensor([0.5, 2.0], dtype=dtype, requires_grad=True)
    assert update_average(torch.zeros(3), torch.tensor([2, 0]), loss, 0.5).tolist() == [1.0, 0.0, 0.25]


# ---------------------------------------------------------------- ranks within class
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, -2.0, 3.5]), st.integers(0, 3)), min_size=1))
def test_ranks_within_class_are_scipys(rows):
    values, labels = (np.array(column) for column in zip(*rows, strict=True))
    wanted = np.empty(len(values))
    for c in set(labels):
        ranks = rankdata(values[labels == c], method="ordinal") - 1
        wanted[labels == c] = ranks / (len(ranks) - 1) if len(ranks) > 1 else 0.5
    got = rank_within_class(torch.from_numpy(values), torch.from_numpy(labels).to(torch.int16))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert got.dtype == torch.float32


def test_ranks_of_all_samples_together():
    assert rank_within_class(torch.tensor([3.0, 1.0, 2.0])).tolist() == [1.0, 0.0, 0.5]


# ---------------------------------------------------------------- budgets of classes
@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[int], int]:
    """Shares over six orders of magnitude, sizes over five, empty classes among them."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 2, 7, 100, 5000, 90000]), min_size=1, max_size=12).filter(sum))
    shares = draw(st.lists(st.floats(1e-3, 1e3), min_size=len(sizes), max_size=len(sizes)))
    return shares, sizes, draw(st.integers(0, sum(sizes)))


@settings(max_examples=300)
@given(problems())
def test_budgets_are_water_filled(problem):
    """min(size, λ share) with the λ that scipy finds, rounded up or down."""
    shares, sizes, total = (np.array(part) for part in problem)
    budgets = class_budgets(torch.tensor(shares), torch.tensor(sizes), int(total)).numpy()
    assert budgets.sum() == total
    assert ((budgets >= 0) & (budgets <= sizes)).all()
    highest = 2 * sizes.max() / shares.min()
    level = optimize.brentq(lambda x: np.minimum(sizes, x * shares).sum() - total, 0, highest, xtol=1e-12, rtol=1e-14)
    # All of it taken: any level from the last class's on is a root.
    wanted = sizes if total == sizes.sum() else np.minimum(sizes, level * shares)
    assert (np.abs(budgets - wanted) < 1 + 1e-6).all()
    assert (budgets[wanted == sizes] == sizes[wanted == sizes]).all()


@pytest.mark.parametrize(
    ("shares", "sizes", "total", "wanted"),
    [
        # The published loop gives 10, 60 and 60: it shares out 120 again after 10 are gone.
        ([1.0, 1.0, 1.0], [10, 100, 100], 120, [10, 55, 55]),
        # A class that fills up makes another one fill up.
        ([4.0, 2.0, 1.0, 1.0], [10, 12, 100, 100], 80, [10, 12, 29, 29]),
        ([1.0, 1.0, 1.0], [9, 9, 9], 10, [4, 3, 3]),
        ([1.0, 1.0, 1.0], [9, 9, 9], 11, [4, 4, 3]),
        ([5.0, 0.0, 1.0], [4, 0, 6], 10, [4, 0, 6]),
        ([5.0, NAN, 1.0], [4, 0, 6], 0, [0, 0, 0]),
        ([1e-9, 1.0], [5, 100], 50, [0, 50]),
    ],
)
def test_budgets_by_hand(shares, sizes, total, wanted):
    assert class_budgets(torch.tensor(shares), torch.tensor(sizes), total).tolist() == wanted


@pytest.mark.parametrize("total", [-1, 16])
def test_a_budget_out_of_range(total):
    with pytest.raises(ValueError, match=f"`total` must be between 0 and the number of samples, 15, got {total}"):
        class_budgets(torch.ones(2), torch.tensor([5, 10]), total)


@pytest.mark.parametrize("share", [0.0, -1.0, NAN, float("inf")])
def test_a_class_without_a_share(share):
    with pytest.raises(
        ValueError, match=r"`shares` must be above 0 and finite for every class with samples, got \[1.0"
    ):
        class_budgets(torch.tensor([1.0, share]), torch.tensor([5, 10]), 3)
