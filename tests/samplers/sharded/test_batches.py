"""A rank's batches: made as far as they are asked for, and forgotten again."""

from __future__ import annotations

import torch

from dynsel.samplers.sharded.batches import ShardBatches
from dynsel.samplers.sharded.order import ShardedOrder, ShardedWhole


def order() -> ShardedOrder:
    return ShardedOrder(ShardedWhole(range(103), 4, 2, 0, seed=1))


def part(**options):
    return ShardBatches(order(), **{"batch_size": 6, **options})


def test_batches_are_runs_of_the_order():
    """103 samples: 25 of each of 4 shards, 50 a rank."""
    whole = [place for piece in order().places() for place in piece.tolist()]
    assert [part().batch(b).tolist() for b in range(9)] == [whole[6 * b : 6 * b + 6] for b in range(9)]
    assert (part().number, part(drop_last=True).number) == (9, 8)
    assert part().used(2, 4).tolist() == whole[12:24]


def test_it_begins_where_an_epoch_goes_on():
    """After 24 samples of both ranks, in four batches of this epoch."""
    later = part(start=24, first_batch=4)
    assert torch.equal(later.batch(4), part().batch(2))
    assert (later.number, later.position(4), later.position(5), later.position(99)) == (7, 24, 36, 100)


def test_forgotten_batches_can_still_be_had():
    one = part()
    batches = [one.batch(b).tolist() for b in range(9)]
    one.forget(7)
    assert len(one._kept) == 8
    assert one.batch(8).tolist() == batches[8]
    assert [one.batch(b).tolist() for b in range(9)] == batches
    one.forget(-3)
    assert one.batch(0).tolist() == batches[0]
