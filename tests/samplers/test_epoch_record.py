"""The books of a training by hand: samples, means over rounds, operations, and what a restart goes on from."""

from __future__ import annotations

import math

import pytest
import torch

from dynsel.samplers.epoch_record import Books, EpochRecord
from dynsel.selectors.population import Population


def test_an_epoch_of_two_rounds_has_means():
    books = Books()
    books.open(3, 0.5, 1.0)
    books.add_round(0.25, 0.8)
    books.add_round(0.75, 0.6)
    books.add_trained(30)
    books.add_scored(10, 2.0)
    books.add_waiting(0.5)
    books.add_waiting(0.25)
    record = books.close(torch.tensor([0, 2, 1, 1]), Population())
    assert (record.epoch, record.rounds, record.samples_trained, record.samples_scored) == (3, 3, 30, 10)
    assert record.keep_ratio == pytest.approx(0.5)
    assert record.class_balance == pytest.approx(0.8)
    assert (record.coverage, record.data_seconds) == (0.75, 0.75)
    assert record.selection_seconds == pytest.approx(2.0)
    assert record.usage_gini == pytest.approx(0.375)
    assert books.history == [record]
    assert books.record is None


def test_time_before_an_epoch_goes_into_its_record():
    books = Books()
    with books.preparing(), books.fitting():
        pass
    books.open(0, 1.0, math.nan)
    assert 0 < books.record.fit_seconds <= books.record.selection_seconds
    books.close(torch.ones(1, dtype=torch.int32), Population())
    books.open(1, 1.0, math.nan)
    assert books.record.selection_seconds == 0


@pytest.mark.parametrize(
    ("scores_batches", "trained", "scored", "own", "flops"),
    [
        (False, None, None, 0.0, (math.nan, math.nan)),
        (False, 3.0, None, 0.0, (60.0, 0.0)),
        (False, 3.0, None, 7.0, (67.0, 7.0)),
        (True, 3.0, 1.0, 0.0, (70.0, 10.0)),
        (True, 3.0, None, 0.0, (math.nan, math.nan)),
    ],
)
def test_operations(scores_batches, trained, scored, own, flops):
    books = Books(scores_batches=scores_batches)
    books.add_trained(20)
    books.set_own_work(10, own)
    books.set_flops(trained=trained, scored=scored)
    assert books.flops() == pytest.approx(flops, nan_ok=True)


def test_a_restart_goes_on_in_the_middle_of_an_epoch():
    books = Books()
    for epoch in (0, 1):
        books.open(epoch, 0.5, 1.0)
        books.add_trained(8)
        if not epoch:
            books.close(torch.ones(4, dtype=torch.int32), Population())
    again = Books()
    history = again.history
    again.load_state_dict(books.state_dict())
    assert again.history is history
    assert again.close(torch.ones(4, dtype=torch.int32), Population()) == books.close(
        torch.ones(4, dtype=torch.int32), Population()
    )
    assert again.history == books.history


def test_states_that_are_none():
    state = Books().state_dict()
    with pytest.raises(ValueError, match=r"the state of the books lacks `flops`"):
        Books().load_state_dict({key: value for key, value in state.items() if key != "flops"})
    broken = {**state, "history": [{**vars(EpochRecord(0, 0.5)), "new": 1}]}
    with pytest.raises(ValueError, match=r"the state of an epoch's record has `new`, which isn't known"):
        Books().load_state_dict(broken)
