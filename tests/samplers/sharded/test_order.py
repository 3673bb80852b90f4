"""The order of a rank's shards: computed piece by piece, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.samplers.sharded.order import ShardedOrder, ShardedWhole
from dynsel.selection import Selection


def order_of(size: int, num_shards: int, ranks: int, rank: int, ratio: float) -> ShardedOrder:
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
