"""LossRank: ranks against scipy's, averages by hand, and what is taken when."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from dynsel.schedules import Linear
from dynsel.selectors import Feedback, LossRank

NAN = float("nan")


def told(losses: list[float], *, labels: torch.Tensor | None = None, **options: object) -> LossRank:
    """A selector that heard these losses once; NaN = not trained on."""
    options = {"gamma": 0.0, "noise": 0.0, "seed": 0, **options}
    selector = LossRank(class_balance=labels is not None, **options)
    selector.bind(len(losses), labels)
    loss = torch.tensor(losses)
    indices = (~loss.isnan()).nonzero()[:, 0]
    selector.observe(Feedback(indices, per_sample_loss=loss[indices]))
    return selector


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
