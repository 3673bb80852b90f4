"""Who trains, and the phases that their epochs go through."""

from __future__ import annotations

import pytest
import torch
from support import BATCHES, Sizes, train_loader
from torch.utils.data import DataLoader

from dynsel.samplers import Driver, Phase, PlainDriver, SelectionController, SelectionSampler


def plain() -> SelectionController:
    return SelectionController("random", Sizes(), max_epochs=4, seed=0)


def test_a_plain_loop_goes_through_the_phases():
    selection = plain()
    assert selection.epochs.phase is Phase.AWAITED
    loader = selection.wrap(train_loader())
    assert (selection.epochs.phase, len(loader)) == (Phase.AWAITED, 10)
    loader.sampler.set_epoch(0)
    assert (selection.epochs.phase, len(loader)) == (Phase.DECIDED, 3)
    batches = iter(loader)
    assert selection.epochs.phase is Phase.DECIDED
    next(batches)
    assert (selection.epochs.phase, selection.sampler.stage.delivered) == (Phase.RUNNING, 1)
    assert len(list(batches)) == 2
    assert (selection.epochs.phase, selection.sampler.stage.delivered) == (Phase.ENDED, 3)
    selection.set_epoch(1)
    assert (selection.epochs.phase, len(loader)) == (Phase.PINNED, 10)
    # What a loader counts by itself is passed over until the first batch.
    loader.sampler.set_epoch(3)
    assert (selection.epoch, len(list(loader))) == (1, 10)
    selection.epochs.end_training()
    assert selection.epochs.phase is Phase.OVER
    assert selection.finish_epoch().samples_trained == 12 + 40


def test_an_epoch_that_is_fed_again_is_a_repetition():
    selection = plain()
    loader = selection.wrap(train_loader())
    loader.sampler.set_epoch(0)
    seen = [[i for batch in loader for i in batch[2].tolist()] for _ in range(2)]
    assert sorted(seen[0]) == sorted(seen[1])
    selection.flush()
    assert selection.books.samples_trained == 24


class Announcing(PlainDriver):
    """Says when training begins, as a Trainer does, and notes what it is told."""

    announces_epochs = True

    def __init__(self) -> None:
        super().__init__(max_epochs=4)
        self.told: list[str] = []

    def epoch_decided(self) -> None:
        self.told.append("decided")

    def before_first_batch(self) -> None:
        self.told.append("first batch")


def test_one_who_announces_epochs_feeds_everything_until_training_begins():
    driver, selection = Announcing(), plain()
    assert isinstance(driver, Driver)
    selection.attach(driver)
    loader = selection.wrap(train_loader())
    assert (selection.epochs.phase, len(loader)) == (Phase.OFF, 10)
    # A tuner, say: another order of the whole data set, and nothing of it counts.
    loader.sampler.set_epoch(1)
    assert len(list(loader)) == 10
    selection.epochs.begin_training()
    assert selection.epochs.phase is Phase.AWAITED
    driver.told.clear()
    for epoch, wanted in enumerate(BATCHES):
        loader.sampler.set_epoch(epoch)
        assert len(list(loader)) == wanted
    assert driver.told == ["decided", "first batch"] * 4
    selection.epochs.end_training()
    assert selection.books.samples_trained == 12 + 40 + 20 + 8
    assert selection.epochs.phase is Phase.OVER


def test_a_loader_exchanged_in_training_waits_for_its_epoch():
    driver, selection = Announcing(), plain()
    selection.attach(driver)
    selection.wrap(train_loader())
    selection.epochs.begin_training()
    selection.sampler.set_epoch(0)
    again = selection.wrap(train_loader())
    assert (selection.epochs.phase, len(again)) == (Phase.AWAITED, 10)
    again.sampler.set_epoch(0)
    assert (selection.epochs.phase, len(again)) == (Phase.DECIDED, 3)


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_training_has_at_least_one_epoch(epochs):
    with pytest.raises(ValueError, match=f"`max_epochs` must be at least 1, got {epochs}"):
        PlainDriver(epochs)


def test_progress_of_a_plain_loop_is_that_of_its_epochs():
    driver = PlainDriver(4)
    assert [driver.progress(epoch) for epoch in (0, 1, 4, 5)] == [0.0, 0.25, 1.0, 1.0]
    assert driver.progress(1, ahead=7) == 0.25
    assert PlainDriver().progress(3) == 0.0
    assert driver.batches_trained(3) == 3
    logits = torch.eye(3)
    losses = driver.per_sample_loss(torch.nn.Identity(), (logits, torch.arange(3)))
    assert torch.allclose(losses, torch.nn.functional.cross_entropy(logits, torch.arange(3)).expand(3))


def test_a_sampler_alone_is_decided():
    sampler = SelectionSampler(range(10), seed=0)
    sampler.select([1, 2, 3])
    assert (sampler.stage.phase, len(sampler)) == (Phase.DECIDED, 3)
    assert sorted(batch.item() for batch in DataLoader(range(10), sampler=sampler)) == [1, 2, 3]
