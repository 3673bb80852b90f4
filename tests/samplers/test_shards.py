"""Whatever the sizes, every rank trains as much as every other, and together exactly the selection."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs.ranks import interleave

from dynsel.samplers import Phase, SelectionSampler

TOTAL = 97
sizes = st.integers(1, TOTAL)
worlds = st.integers(1, 8)


def shards(size: int, world: int, *, batch_size: int = 4, drop_last: bool = False, epoch: int = 0) -> list:
    """One sampler a rank, of the same `size` of 97 samples."""
    chosen = torch.randperm(TOTAL, generator=torch.Generator().manual_seed(size))[:size]
    ranks = [SelectionSampler(range(TOTAL), seed=3, num_replicas=world, rank=rank) for rank in range(world)]
    for sampler in ranks:
        sampler.make_batches(batch_size, drop_last)
        sampler.select(chosen)
        sampler.set_epoch(epoch)
    return ranks


def batches(sampler: SelectionSampler, start: int = 0) -> list[list[int]]:
    return [sampler.part.batch(b).tolist() for b in range(start, sampler.num_batches())]


def test_every_size_and_world():
    failed = []
    for world in range(1, 9):
        for size in range(1, TOTAL + 1):
            ranks = shards(size, world)
            fed = [list(sampler) for sampler in ranks]
            seen = Counter(i for rank in fed for i in rank)
            if not (
                {len(sampler) for sampler in ranks} == {len(rank) for rank in fed} == {-(-size // world)}
                and seen.keys() == set(ranks[0].draw().tolist())
                and len(seen) == size
                and seen.total() - size < world
            ):
                failed.append((world, size, fed))
    assert failed == []


@given(sizes, worlds, st.integers(0, 5))
def test_ranks_take_turns_in_the_order_of_the_whole_set(size, world, epoch):
    ranks = shards(size, world, epoch=epoch)
    whole = torch.randperm(TOTAL, generator=torch.Generator().manual_seed(3 + epoch)).tolist()
    selected = set(ranks[0].draw().tolist())
    order = [i for i in whole if i in selected]
    fed = [i for row in zip(*(list(sampler) for sampler in ranks), strict=True) for i in row]
    assert fed[:size] == order
    # Filled up from the front, again and again if it must be.
    assert fed[size:] == (order * world)[: len(fed) - size]


@given(sizes, worlds, st.integers(1, 9), st.booleans())
def test_batches_are_cut_alike_on_all_ranks(size, world, batch_size, drop_last):
    ranks = shards(size, world, batch_size=batch_size, drop_last=drop_last)
    cut = [batches(sampler) for sampler in ranks]
    shapes = [[len(batch) for batch in rank] for rank in cut]
    assert shapes == [shapes[0]] * world
    if drop_last:
        assert shapes[0] == [batch_size] * (-(-size // world) // batch_size)
    else:
        assert sum(shapes[0]) == -(-size // world)
    # What counts as used is what the ranks were fed, in any two parts of the epoch.
    half = len(shapes[0]) // 2
    used = [ranks[0].part.used(0, half).tolist(), ranks[-1].part.used(half, len(shapes[0])).tolist()]
    assert used == [interleave([rank[:half] for rank in cut]), interleave([rank[half:] for rank in cut])]


@settings(max_examples=200)
@given(sizes, worlds, worlds, st.integers(1, 5), st.booleans(), st.data())
def test_an_epoch_goes_on_with_any_number_of_ranks(size, before, after, batch_size, drop_last, data):
    first = shards(size, before, batch_size=batch_size, drop_last=drop_last, epoch=2)
    done = data.draw(st.integers(0, first[0].num_batches()), label="batches done")
    state = first[0].state_dict(done)
    second = shards(1, after, batch_size=batch_size, drop_last=drop_last)
    for sampler in second:
        sampler.load_state_dict(state)
    lengths = [sampler.num_batches() for sampler in second]
    assert lengths == [lengths[0]] * after
    assert lengths[0] >= done
    order = first[0].draw().tolist()
    fed = interleave([batches(sampler)[:done] for sampler in first])
    rest = interleave([batches(sampler, done) for sampler in second])
    assert [len(rank) for rank in map(list, second)] == [-(-max(0, size - len(fed)) // after)] * after
    if drop_last:
        assert (fed + rest)[:size] == order[: len(fed + rest)]
    else:
        assert fed[:size] + rest == (order * 9)[: min(size, len(fed)) + len(rest)]
        assert len(rest) - max(0, size - len(fed)) < after


def test_an_epoch_whose_padding_went_past_the_end_is_over():
    # 15 samples on 2 ranks are 16; the checkpoint lies one past the end, which must not count against what is done.
    first = shards(15, 2, batch_size=8, drop_last=True)
    second = shards(15, 1, batch_size=8, drop_last=True)[0]
    second.load_state_dict(first[0].state_dict(1))
    assert (second.num_batches(), len(second), list(second)) == (1, 0, [])


def test_one_process_after_several_keeps_to_the_seeded_order():
    from torch.utils.data import RandomSampler

    first = shards(40, 2)
    alone = SelectionSampler(range(TOTAL), base=RandomSampler(range(TOTAL)), seed=7)
    alone.make_batches(4, drop_last=False)
    alone.load_state_dict(first[0].state_dict(2))
    assert list(alone) == first[0].draw().tolist()[16:]
    for sampler in (alone, *first):
        sampler.set_epoch(1)
    assert list(alone) == first[0].draw().tolist()


def test_length_is_the_whole_set_while_planning():
    sampler = shards(5, 2)[0]
    sampler.stage.enter(Phase.AWAITED)
    assert (len(sampler), sampler.num_batches()) == (49, 13)
    sampler.stage.enter(Phase.DECIDED)
    assert (len(sampler), sampler.num_batches()) == (3, 1)
