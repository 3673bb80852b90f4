"""What batches held and what was told of them: parts, rows in another order, gaps, samples that came twice."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.data import TensorDataset

from dynsel.samplers.feedback import EpochFeedback
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.stage import Phase
from dynsel.selection import Selection

N, B = 12, 4


@pytest.fixture
def fed() -> EpochFeedback:
    """An epoch of the whole set in order, of three batches, all delivered."""
    sampler = SelectionSampler(TensorDataset(torch.arange(N)), shuffle=False, seed=0)
    sampler.make_batches(B, False)
    sampler.select(Selection(torch.arange(N), torch.arange(N) / 10))
    list(sampler)
    return EpochFeedback(sampler)


def test_batches_are_runs_of_the_order(fed):
    assert [fed.positions(b).tolist() for b in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    torch.testing.assert_close(fed.weights(1), torch.tensor([0.4, 0.5, 0.6, 0.7]))


def test_what_is_told_comes_with_its_samples(fed):
    fed.hear(0, {"value"}, {"value": torch.arange(4.0)})
    fed.hear(1, {"value"}, {})
    told = fed.collect(2, {"value"})
    assert told.indices.tolist() == list(range(8))
    assert told.value[:4].tolist() == [0, 1, 2, 3]
    assert told.value[4:].isnan().all()
    assert told.per_sample_loss is None
    fed.hear(2, {"value"}, {"value": torch.ones(4)})
    assert fed.collect(3, {"value"}).indices.tolist() == [8, 9, 10, 11]  # what was collected doesn't come again


def test_of_a_batch_that_was_cut_only_what_stayed_counts(fed):
    fed.keep(0, torch.tensor([1, 3]), 4)
    fed.keep(1, None)
    fed.hear(0, {"value"}, {"value": torch.tensor([5.0, 6.0])})
    assert fed.positions(0).tolist() == [1, 3]
    torch.testing.assert_close(fed.weights(0), torch.tensor([0.1, 0.3]))
    told = fed.collect(2, {"value"})
    assert told.indices.tolist() == [1, 3, 4, 5, 6, 7]
    assert told.value[:2].tolist() == [5, 6]


def test_rows_may_come_in_another_order_and_not_all_of_them(fed):
    fed.arrange(1, torch.tensor([7, 4]))
    fed.hear(1, {"value"}, {"value": torch.tensor([0.7, 0.4])})
    fed.hear(0, {"value"}, {"value": torch.zeros(4)})
    told = fed.collect(2, {"value"})
    assert told.indices.tolist() == [0, 1, 2, 3, 7, 4]
    torch.testing.assert_close(told.value[4:], torch.tensor([0.7, 0.4]))


@pytest.mark.parametrize("rows", [[4, 8], [4, 4]])
def test_a_batch_cannot_hold_what_was_not_fed(fed, rows):
    with pytest.raises(ValueError, match=rf"batch 1 holds sample {rows[1]} by its own account, which was not fed"):
        fed.arrange(1, torch.tensor(rows))


def test_numbers_of_rows_are_checked(fed):
    fed.check(0, {"value": torch.ones(4, 2), "per_sample_loss": None})
    with pytest.raises(ValueError, match=r"`value` must have one row .* of batch 0: expected 4, got 3"):
        fed.check(0, {"value": torch.ones(3)})
    with pytest.raises(ValueError, match="batch 0 has 5 samples, but the sampler fed 4"):
        fed.keep(0, torch.tensor([0]), 5)


def test_a_copy_goes_its_own_way(fed):
    fed.keep(0, torch.tensor([0]), 4)
    twin = fed.of(fed.sampler)
    twin.keep(0, torch.tensor([1, 2]), 4)
    assert (fed.positions(0).tolist(), twin.positions(0).tolist()) == ([0], [1, 2])
    assert fed.sampler.stage.phase is not Phase.OFF


@pytest.mark.parametrize("loss", [math.log(10), 0.1, 1e-30, 3e38, 7.0])
@pytest.mark.parametrize("gaps", [0, 2])
def test_of_equal_losses_none_is_below_their_mean(loss, gaps):
    """Sums of float32 round: the mean of 128 times log 10 is more than log 10."""
    sampler = SelectionSampler(TensorDataset(torch.arange(128)), shuffle=False, seed=0)
    sampler.make_batches(128, False)
    sampler.select(Selection(torch.arange(128)))
    list(sampler)
    fed = EpochFeedback(sampler)
    losses = torch.full((128,), loss)
    losses[:gaps] = torch.nan
    fed.hear(0, {"per_sample_loss", "batch_loss"}, {"per_sample_loss": losses})
    assert (fed.collect(1, {"batch_loss"}).batch_loss == losses[-1]).all()


def test_the_mean_of_a_batch_is_that_of_its_known_losses(fed):
    fed.hear(0, {"batch_loss"}, {"per_sample_loss": torch.tensor([1.0, torch.nan, 3.0, 5.0])})
    fed.hear(1, {"batch_loss"}, {"per_sample_loss": torch.full((4,), torch.nan)})
    fed.hear(2, {"batch_loss"}, {"per_sample_loss": torch.tensor([1.0, torch.inf, 3.0, 5.0])})
    means = fed.collect(3, {"batch_loss"}).batch_loss
    assert means[0] == 3
    assert means[4].isnan()
    assert means[8] == torch.inf
