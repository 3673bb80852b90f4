"""The order of a rank's shards, its batches and files, without a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.samplers.sharded import ShardedSampler
from dynsel.samplers.sharded.order import ShardedOrder, ShardedWhole
from dynsel.selection import Selection


def order_of(size: int, num_shards: int, ranks: int, rank: int, ratio: float, monkeypatch: Any = None) -> ShardedOrder:
    """With the samples of the highest index selected, as many in each shard."""
    order = ShardedOrder(ShardedWhole(range(size), num_shards, ranks, rank, seed=3))
    shards = order.whole.shards
    quota = shards.quota(max(1, int(ratio * size)))
    chosen = [
        places.start + np.argsort(shards.indices(np.arange(places.start, places.stop)))[-quota:]
        for places in shards.slices()
    ]
    order.select(Selection(torch.from_numpy(np.concatenate(chosen))))
    order.begin(2, 5)
    return order


def all_of(order: ShardedOrder, start: int = 0) -> list[int]:
    pieces = list(order.places(start))
    return order.whole.shards.indices(np.concatenate(pieces)).tolist() if pieces else []


@settings(max_examples=40)
@given(
    st.integers(24, 300),
    st.sampled_from([(1, 1), (6, 2), (6, 3), (8, 4), (12, 12)]),
    st.floats(0.05, 1),
    st.integers(0, 60),
    st.sampled_from([1, 3, 1 << 16]),
)
def test_ranks_take_turns_in_the_order_of_one(size, layout, ratio, start, chunk):
    """Whatever the number of ranks, where it begins, and how long the pieces are."""
    num_shards, ranks = layout
    with pytest.MonkeyPatch.context() as patch:
        alone = all_of(order_of(size, num_shards, 1, 0, ratio))
        patch.setattr("dynsel.samplers.sharded.order.CHUNK", chunk)
        parts = [all_of(order_of(size, num_shards, ranks, rank, ratio), start) for rank in range(ranks)]
    assert len(set(alone)) == len(alone)
    assert [i for row in zip(*parts, strict=True) for i in row] == alone[start * ranks :]


def test_a_limit_ends_the_order():
    order = order_of(100, 4, 2, 1, 0.5)
    before = all_of(order)
    order.cut(20)
    assert all_of(order) == before[:10]
    order.restart()
    assert all_of(order) == before


def test_another_epoch_is_another_order():
    order = order_of(100, 4, 1, 0, 1.0)
    before = all_of(order)
    order.begin(3, 5)
    assert all_of(order) != before
    assert sorted(all_of(order)) == sorted(before)


@pytest.mark.parametrize("places", [[0, 1, 2], [0, 0, 5, 10, 15], []])
def test_selections_of_unequal_parts_are_refused(places):
    order = ShardedOrder(ShardedWhole(range(20), 4, 1, 0))
    with pytest.raises(ValueError, match="must hold as many samples of each, none of them twice"):
        order.select(Selection(torch.tensor(places, dtype=torch.int64)))


# ---------------------------------------------------------------- sampler
def sampler_of(size: int = 103, ranks: int = 2, rank: int = 0, batch_size: int = 6, **options: Any) -> ShardedSampler:
    return ShardedSampler(range(size), 4, num_replicas=ranks, rank=rank, seed=1, batch_size=batch_size, **options)


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_what_the_parts_say(drop_last):
    sampler = sampler_of(drop_last=drop_last)
    sampler.set_epoch(1)
    batches = list(sampler.batches())
    # 103 samples: 25 of each of 4 shards, 50 a rank.
    assert [len(batch) for batch in batches] == [6] * 8 + ([] if drop_last else [2])
    assert len(batches) == sampler.num_batches()
    assert list(sampler) == [i for batch in batches for i in batch] + (list(sampler)[48:] if drop_last else [])
    for number, batch in enumerate(batches):
        assert sampler.whole.dataset_indices(sampler.part.batch(number)).tolist() == batch


def test_forgotten_batches_can_still_be_had():
    sampler = sampler_of()
    batches = [sampler.part.batch(b).tolist() for b in range(9)]
    sampler.part.forget(7)
    assert sampler.part.batch(8).tolist() == batches[8]
    assert [sampler.part.batch(b).tolist() for b in range(9)] == batches


def test_positions_are_found_by_index():
    sampler = sampler_of()
    places = sampler.part.batch(0)
    assert torch.equal(sampler.whole.positions_of(sampler.whole.dataset_indices(places)), places)
    others = sampler_of(rank=1)
    assert (others.whole.positions_of(sampler.whole.dataset_indices(places)) == -1).all()


def test_a_place_that_ranks_cannot_share_is_refused():
    one, two = sampler_of(ranks=1, batch_size=3), sampler_of(ranks=2)
    state = one.state_dict(1)
    with pytest.raises(ValueError, match="stands after 3 samples of a selection, which 2 ranks can't"):
        two.load_state_dict(state)
    two.load_state_dict(one.state_dict(2))
    assert two.first_position == 6


def test_shards_belong_to_a_rank():
    with pytest.raises(ValueError, match="this loader's shards are those of rank 0 of 2"):
        sampler_of().share(4, 1)


def test_another_data_set_is_refused():
    with pytest.raises(ValueError, match="the state is of a data set of 103 samples, this one has 104"):
        sampler_of(104).load_state_dict(sampler_of().state_dict())
