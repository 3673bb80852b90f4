"""LossRank: ranks against scipy's, averages by hand, and what is taken when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynsel.schedules import Linear
from dynsel.selectors import Feedback, LossRank
from dynsel.selectors.ranking import loss_rank, update_average

NAN = float("nan")
some_losses = st.lists(st.sampled_from([0.0, -0.0, 0.25, 1.5, 9.0, NAN]), min_size=1, max_size=40)


def told(losses: list[float], *, labels: torch.Tensor | None = None, **options: object) -> LossRank:
    """A selector that heard these losses once; NaN = not trained on."""
    options = {"gamma": 0.0, "noise": 0.0, "seed": 0, **options}
    selector = LossRank(class_balance=labels is not None, **options)
    selector.bind(len(losses), labels)
    loss = torch.tensor(losses)
    indices = (~loss.isnan()).nonzero()[:, 0]
    selector.observe(Feedback(indices, per_sample_loss=loss[indices]))
    return selector


# ---------------------------------------------------------------- ranks
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


# ---------------------------------------------------------------- averages
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


# ---------------------------------------------------------------- selection
def test_takes_the_hardest():
    assert told([0.1, 5.0, 0.2, 4.0, 0.3]).select(0.0, 2).indices.tolist() == [1, 3]


def test_smooths():
    selector = told([0.0, 1.0, 2.0], smoothing=0.5)
    selector.observe(Feedback(torch.tensor([0, 2]), per_sample_loss=torch.tensor([3.0, 1.0])))
    assert selector.average.tolist() == [1.5, 1.0, 1.5]
    selector.observe(Feedback(torch.tensor([0, 2])))  # trained on, but no loss was told
    assert selector.average.tolist() == [1.5, 1.0, 1.5]


def test_clips_the_highest():
    assert told([0.1, 5.0, 0.2, 4.0, 0.3], clip=0.2).select(0.0, 2).indices.tolist() == [3, 4]
    assert told([0.1, 5.0, 0.2, 4.0, 0.3], clip=0.2).select(0.0, 4).indices.tolist() == [0, 2, 3, 4]


def test_balances_classes():
    labels = torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.int16)
    selector = told([9.0, 8.0, 7.0, 6.0, 1.0, 2.0], labels=labels)
    assert selector.select(0.0, 3).indices.tolist() == [0, 1, 5]


def test_score_by_hand():
    selector = told([1.0, 2.0, 3.0, 4.0], gamma=Linear(2.0, 0.0))
    selector.usage = torch.tensor([1, 3, 4, 0], dtype=torch.int32)  # relative to their mean: 0.5, 1.5, 2, 0
    assert selector.scores(0.0).tolist() == pytest.approx([0.125 - 1, 0.375 - 3, 0.625 - 4, 0.875])
    assert selector.scores(1.0).tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_noise_is_gumbels():
    selector = told([1.0] * 4000, noise=0.5)
    assert stats.kstest((selector.scores(0.0).double() - 0.5) / 0.5, "gumbel_r").pvalue > 0.001


def test_a_large_penalty_rotates():
    selector = told([0.1 * i for i in range(50)], gamma=1e4, noise=0.1)
    for _ in range(20):
        indices = selector.select(0.0, 13).indices
        selector.observe(Feedback(indices, per_sample_loss=torch.rand(13, generator=torch.Generator().manual_seed(0))))
        assert int(selector.usage.max() - selector.usage.min()) <= 1


def test_rotates_at_random_before_the_first_losses():
    selector = told([NAN] * 1000)
    first = selector.select(0.0, 100).indices
    selector.observe(Feedback(first))  # still none
    second = selector.select(0.1, 100).indices
    for indices in (first, second):
        assert stats.kstest(indices.numpy() / 1000, "uniform").pvalue > 0.001
    assert not set(first.tolist()) & set(second.tolist())


@pytest.mark.parametrize("options", [{}, {"gamma": 3.0, "noise": 2.0}])
def test_every_sample_gets_a_loss_early(options):
    """Ten epochs of a tenth each; the order among the new ones is random."""
    selector = told([NAN] * 1000, **options)
    for epoch in range(10):
        indices = selector.select(epoch / 20, 100).indices
        if epoch < 8:
            assert stats.kstest(indices.numpy() / 1000, "uniform").pvalue > 0.001
        selector.observe(Feedback(indices, per_sample_loss=torch.ones(100)))
        assert int(selector.usage.max()) == 1
    assert selector.usage.tolist() == [1] * 1000


def test_a_sample_whose_loss_is_never_finite_has_no_monopoly():
    selector = told([0.1 * i for i in range(10)], gamma=1.0)
    for epoch in range(100):
        indices = selector.select(epoch / 100, 3).indices
        loss = 0.1 * indices.float()
        loss[indices == 4] = torch.nan
        selector.average[4] = torch.nan
        selector.observe(Feedback(indices, per_sample_loss=loss))
    assert int(selector.usage[4]) < 60


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 1.0}, r"`smoothing` must be in \[0, 1\), got 1.0; 0 takes the last loss alone"),
        ({"smoothing": -0.1}, r"`smoothing` must be in \[0, 1\), got -0.1"),
        ({"gamma": -1.0}, "`gamma` must be at least 0, got -1.0"),
        ({"noise": -1.0}, "`noise` must be at least 0, got -1.0"),
        ({"noise": NAN}, "`noise` must be at least 0 and finite, got nan"),
        ({"clip": 1.0}, r"`clip` must be in \[0, 1\), got 1.0; it is a share of the samples, 0 clips none"),
        ({"clip": -0.2}, r"`clip` must be in \[0, 1\), got -0.2"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LossRank(**options)
