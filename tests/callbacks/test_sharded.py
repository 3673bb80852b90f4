"""Sharded selection under a real Trainer, on one rank and on two gloo ranks, and from one to the other."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from programs.ranks import interleave, launch
from programs.sharded_checks import EPOCHS, GLOBAL_BATCH, KINDS, SIZE

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
