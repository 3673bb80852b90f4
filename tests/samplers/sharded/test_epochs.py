"""A sharded selection in a loop written by hand: its state, and where it goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from support import train_loader

from dynsel.samplers import SelectionController
from dynsel.selectors import Random
from dynsel.selectors.population import Population
from dynsel.selectors.sharded import ShardedPopulation


def test_a_plain_loop_goes_on_from_its_shards(tmp_path):
    def run(selection, epochs, seen):
        loader = selection.wrap(train_loader())
        for epoch in epochs:
            loader.sampler.set_epoch(epoch)
            seen += [batch[2].tolist() for batch in loader]
        return seen

    whole = run(SelectionController("random", 0.5, max_epochs=4, seed=3, sharded=4), range(4), [])
    first = SelectionController("random", 0.5, max_epochs=4, seed=3, sharded=4)
    seen = run(first, range(2), [])
    state = first.state_dict()
    first.write_shards(tmp_path / "shards")
    second = SelectionController("random", 0.5, max_epochs=4, seed=3, sharded=4)
    second.load_state_dict(state, tmp_path / "shards")
    assert run(second, range(2, 4), seen) == whole


def test_a_state_of_the_other_kind_is_refused(tmp_path):
    plain, sharded = (SelectionController("random", max_epochs=2, sharded=number) for number in (False, 4))
    states = []
    for selection in (plain, sharded):
        loader = selection.wrap(train_loader())
        loader.sampler.set_epoch(0)
        list(loader)
        states.append(selection.state_dict())
    sharded.write_shards(tmp_path)
    with pytest.raises(ValueError, match="of a sharded selection: resume with `sharded=True`"):
        plain.load_state_dict(states[1])
    with pytest.raises(ValueError, match="of a selection without shards: resume without `sharded`"):
        sharded.load_state_dict(states[0])
    with pytest.raises(TypeError, match="this selection has no shards"):
        plain.write_shards(tmp_path)


def test_a_state_without_its_shards_is_refused():
    first, second = (SelectionController("random", max_epochs=2, sharded=4) for _ in range(2))
    loader = first.wrap(train_loader())
    loader.sampler.set_epoch(0)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="is read with its shards: say where they are"):
        second.wrap(train_loader())
    first.epochs._saved = None
    with pytest.raises(RuntimeError, match="no state to write the shards of"):
        first.write_shards("nowhere")


def test_more_uses_than_can_be_counted_are_refused():
    selection = SelectionController("random", max_epochs=2, sharded=4)
    loader = selection.wrap(train_loader())
    selection.selector.usage[3] = 32_000
    with pytest.raises(ValueError, match="a sample was used 32,000 times, more than sharded selection can count"):
        loader.sampler.set_epoch(0)


@pytest.mark.parametrize("given", [False, True])
def test_classes_keep_their_share(given):
    """Whether the labels are the data set's or a list."""
    data = train_loader(200)
    labels = ["rare" if i < 20 else "frequent" for i in range(200)]
    data.dataset.targets = torch.tensor([int(label == "rare") for label in labels])
    selection = SelectionController(
        Random(class_balance=True), 0.4, max_epochs=5, sharded=4, labels=labels if given else None
    )
    loader = selection.wrap(data)
    for epoch in range(5):
        loader.sampler.set_epoch(epoch)
        chosen = [i for batch in loader for i in batch[2].tolist()]
        assert (len(chosen), sum(i < 20 for i in chosen)) == (80, 8)


def test_what_is_told_is_handed_on_now_and_then(monkeypatch):
    monkeypatch.setattr("dynsel.samplers.sharded.epochs.HAND_ON_EVERY", 3)
    selection = SelectionController("loss", 1.0, max_epochs=2, sharded=4)
    loader = selection.wrap(train_loader())
    loader.sampler.set_epoch(0)
    counted = []
    for number, batch in enumerate(loader):
        selection.observe(number, per_sample_loss=batch[2].float())
        counted.append(int(selection.selector.usage.sum()))
    assert counted == [0, 0, 0, 16, 16, 16, 16, 32, 32, 32]
    selection.flush()
    own = selection.sampler.whole.dataset_indices(torch.arange(40))
    assert torch.equal(selection.selector.average, own.float())


def test_a_copy_has_shards_of_its_own():
    selection = SelectionController("loss", 0.5, max_epochs=2, sharded=4)
    loader = selection.wrap(train_loader())
    loader.sampler.set_epoch(0)
    for number, batch in enumerate(loader):
        selection.observe(number, per_sample_loss=batch[2].float())
    twin = copy.deepcopy(selection)
    twin.flush()
    assert (int(selection.selector.usage.sum()), int(twin.selector.usage.sum())) == (0, 20)


def test_a_selector_that_leaves_its_shards_has_all_samples_again():
    selector = Random()
    SelectionController(selector, sharded=4).wrap(train_loader())
    assert type(selector.population) is ShardedPopulation
    SelectionController(selector).wrap(train_loader())
    assert type(selector.population) is Population
