from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsel.selectors.shards.layout import Shards, default_shards


@st.composite
def layouts(draw):
    """N samples and C shards, and a number of ranks that divides C."""
    num_shards = draw(st.integers(1, 24))
    ranks = draw(st.sampled_from([r for r in range(1, num_shards + 1) if num_shards % r == 0]))
    return draw(st.integers(num_shards, 400)), num_shards, ranks


@given(layouts(), st.integers(0, 1 << 40))
def test_ranks_own_every_sample_once(layout, seed):
    size, num_shards, ranks = layout
    parts = [Shards(size, num_shards, num_ranks=ranks, rank=r, seed=seed) for r in range(ranks)]
    owned = np.concatenate([part.indices(np.arange(part.num_own)) for part in parts])
    assert np.array_equal(np.sort(owned), np.arange(size))
    lengths = np.concatenate([part.lengths for part in parts])
    assert lengths.max() - lengths.min() <= 1


@given(layouts(), st.integers(0, 1 << 40))
def test_a_shard_is_the_same_whoever_owns_it(layout, seed):
    size, num_shards, ranks = layout
    alone = Shards(size, num_shards, seed=seed)
    for rank in range(ranks):
        part = Shards(size, num_shards, num_ranks=ranks, rank=rank, seed=seed)
        for shard, places in zip(part.own, part.slices(), strict=True):
            mine = part.indices(np.arange(places.start, places.stop))
            whole = alone.slices()[shard]
            assert np.array_equal(mine, alone.indices(np.arange(whole.start, whole.stop)))


@given(layouts(), st.integers(0, 1 << 40))
def test_places_are_found_again(layout, seed):
    size, num_shards, ranks = layout
    owners = np.zeros(size, dtype=int)
    for rank in range(ranks):
        part = Shards(size, num_shards, num_ranks=ranks, rank=rank, seed=seed)
        places = part.places(np.arange(size))
        mine = np.flatnonzero(places >= 0)
        assert np.array_equal(part.indices(places[mine]), mine)
        assert len(mine) == part.num_own
        owners[mine] += 1
    assert (owners == 1).all()


@given(layouts(), st.floats(0, 1, exclude_min=True))
def test_quotas_are_alike_and_can_be_met(layout, ratio):
    size, num_shards, ranks = layout
    wanted = max(1, int(ratio * size))
    part = Shards(size, num_shards, num_ranks=ranks)
    quota = part.quota(wanted)
    assert 1 <= quota <= part.lengths.min()
    assert wanted - num_shards < quota * num_shards < wanted + num_shards


@pytest.mark.parametrize(("ranks", "wanted"), [(1, 64), (2, 64), (3, 66), (48, 96), (64, 64), (100, 100)])
def test_the_number_of_shards_by_default(ranks, wanted):
    assert default_shards(ranks) == wanted


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="3 ranks can't share 8 shards evenly; numbers of ranks that can: 1, 2, 4, 8"):
        Shards(100, 8, num_ranks=3)
    with pytest.raises(ValueError, match="7 samples don't fill 8 shards: leave `sharded` out"):
        Shards(7, 8)
