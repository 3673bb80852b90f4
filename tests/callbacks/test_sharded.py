"""Sharded selection under a real Trainer, on one rank and on two gloo ranks, and from one to the other."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from programs.ranks import interleave, launch
from programs.sharded_checks import EPOCHS, GLOBAL_BATCH, KINDS, SIZE
from support import Listening, fit, train_loader

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.shard_checkpoints import folder_of
from dynsel.samplers import SelectionController

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any) -> Any:
    """results[world][rank][check]; the second pass of one rank finds what two have left."""
    return launch("sharded_checks", tmp_path_factory.mktemp("sharded"), 1, 2, 1)


def orders(found: list[Any]) -> list[list[int]]:
    """The order of all ranks together, epoch by epoch."""
    return [interleave([rank["seen"][epoch] for rank in found]) for epoch in range(len(found[0]["seen"]))]


def usage(found: list[Any]) -> dict[str, int]:
    return {index: uses for rank in found for index, uses in rank["usage"].items()}


@pytest.mark.parametrize("kind", KINDS)
def test_global_batches_are_the_same_on_one_and_two_ranks(results, kind):
    one, two = ([rank["whole"][kind] for rank in results[world]] for world in (1, 2))
    assert orders(two) == orders(one)
    assert usage(two) == usage(one)
    assert two[0]["records"] == two[1]["records"] == one[0]["records"]


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_share_nothing_and_repeat_nothing(results, kind):
    found = [rank["whole"][kind] for rank in results[2]]
    lengths = [[len(batch) for batch in chain(*rank["seen"])] for rank in found]
    assert lengths[0] == lengths[1]
    assert not set(found[0]["usage"]) & set(found[1]["usage"])
    assert len(usage(found)) == SIZE
    counted = dict.fromkeys(map(str, range(SIZE)), 0)
    for index in chain(*orders(found)):
        counted[str(index)] += 1
    assert counted == usage(found)


def test_epochs_are_as_long_as_without_selection(results):
    """122 samples in 8 shards are 120 of an epoch; two of them stay out, others each time."""
    steps = [rank["whole"]["rounds"]["steps"] for rank in chain(results[1], results[2])]
    assert steps == [EPOCHS * 120 // GLOBAL_BATCH] * 3


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_ranks_goes_on_in_the_same_global_batches(results, kind, world):
    before = [rank["whole"][kind] for rank in results[3 - world]]
    whole = list(chain(*orders(before)))
    names = results[world][0]["resumed"][kind]
    assert names
    for name in names:
        found = [rank["resumed"][kind][name] for rank in results[world]]
        rest = list(chain(*orders(found)))
        assert rest == whole[len(whole) - len(rest) :], name
        assert usage(found) == usage(before), name
        assert found[0]["records"] == before[0]["records"], name


@pytest.mark.parametrize("world", [1, 2])
def test_a_model_that_learns_goes_on_exactly(results, world):
    assert [rank["exact"][1] for rank in results[world]] == [[]] * world
    assert results[world][0]["exact"][0] == 30


@pytest.mark.parametrize("world", [1, 2])
def test_shards_come_and_go_with_their_checkpoint(results, world):
    """The best and a link to it stay, with one save of eight shards; resumed by the link."""
    found = results[world][0]["files"]
    best = [name for name in found["checkpoints"] if name != "last.ckpt"]
    assert len(best) == 1
    assert found["saves"] == {f"{best[0]}.dynsel": [f"shard-{c:05d}.safetensors" for c in range(8)]}
    assert found["number"] == {f"{best[0]}.dynsel": 1}
    assert found["epochs"] == 1


@pytest.mark.parametrize("world", [1, 2])
def test_a_checkpoint_without_its_shards_is_refused_on_every_rank(results, world):
    for rank in results[world]:
        assert "the checkpoint of a sharded selection goes with its folder" in rank["refused"]


# ---------------------------------------------------------------- in this process
def test_what_cannot_be_sharded_is_refused():
    with pytest.raises(ValueError, match="FAST can't choose where each process has its own samples only"):
        DynamicSelection("fast", sharded=True)
    with pytest.raises(ValueError, match="Listening can't choose"):
        DynamicSelection(Listening(), sharded=True)
    with pytest.raises(ValueError, match="`log_images_every` shows the samples used most"):
        DynamicSelection("random", sharded=True, log_images_every=2)
    with pytest.raises(ValueError, match="`sharded` must be at least 1, got 0"):
        DynamicSelection("random", sharded=0)
    with pytest.raises(TypeError, match="`sharded` must be a whole number, got 'yes'"):
        DynamicSelection("random", sharded="yes")


def test_loaders_with_an_order_of_their_own_are_refused():
    selection = SelectionController("random", sharded=4)
    loader = train_loader(sampler=torch.utils.data.WeightedRandomSampler([1.0] * 40, 40), shuffle=None)
    with pytest.raises(TypeError, match="the loader has a WeightedRandomSampler: leave `sampler`"):
        selection.wrap(loader)
    with pytest.raises(ValueError, match="40 samples don't fill 64 shards"):
        SelectionController("random", sharded=True).wrap(train_loader())
    with pytest.raises(ValueError, match="1 processes feed those of 2"):
        selection.wrap(train_loader(), num_replicas=2, rank=0)


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


def test_nobody_sees_all_samples():
    selection = SelectionController("random", sharded=4)
    selection.wrap(train_loader())
    with pytest.raises(RuntimeError, match="`to_frame` shows every sample"):
        selection.to_frame()
    with pytest.raises(RuntimeError, match="`plot` shows every sample"):
        selection.plot()
    assert "40 samples" in repr(selection)
    assert "<table>" in selection._repr_html_()


def test_it_is_suggested_for_many_samples(monkeypatch):
    monkeypatch.setattr("dynsel.samplers.sharding.MANY", 40)
    with pytest.warns(UserWarning, match="40 samples are chosen from .* `sharded=True` leaves each its own part"):
        SelectionController("random").wrap(train_loader())


def test_the_strategy_is_left_as_it_was():
    _, trainer = fit(DynamicSelection("random", sharded=4), max_epochs=1)
    assert not {"save_checkpoint", "remove_checkpoint"} & set(vars(trainer.strategy))


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


def test_shards_need_a_file_system():
    with pytest.raises(ValueError, match=r"s3://bucket/a\.ckpt is no path of a file system"):
        folder_of("s3://bucket/a.ckpt")
