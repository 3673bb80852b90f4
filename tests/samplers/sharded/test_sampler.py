"""A sampler of one rank's shards: as many batches on each rank, positions, and where it can't go on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynsel.samplers.sharded import ShardedSampler


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
