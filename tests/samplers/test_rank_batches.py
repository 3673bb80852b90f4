"""Batches of a rank, against a loop that deals samples out one by one."""

from __future__ import annotations

from itertools import cycle, islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.samplers.rank_batches import RankBatches, count_batches


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 6), st.booleans(), st.integers(0, 12))
def test_samples_are_dealt_out_in_turns(count, ranks, size, drop_last, start):
    start = min(start, count)
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    rest = -(-(count - start) // ranks) * ranks
    for turn, sample in enumerate(islice(cycle(range(count)), start, start + rest)):
        dealt[turn % ranks].append(sample)
    for rank in range(ranks):
        part = RankBatches(
            torch.arange(count),
            None,
            start=start,
            first_batch=2,
            batch_size=size,
            drop_last=drop_last,
            ranks=ranks,
            rank=rank,
        )
        batches = [dealt[rank][i : i + size] for i in range(0, len(dealt[rank]), size)]
        if drop_last:
            batches = [batch for batch in batches if len(batch) == size]
        assert part.order.tolist() == dealt[rank]
        assert [part.batch(2 + b).tolist() for b in range(len(batches))] == batches
        assert len(part.ends) == len(batches) == count_batches(count - start, ranks, size, drop_last)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 5))
def test_batches_of_the_users_own(sizes, first):
    """From one of them on, they are what they were."""
    first = min(first, len(sizes) - 1)
    groups = torch.repeat_interleave(torch.tensor(sizes))
    order, start = torch.arange(len(groups)), sum(sizes[:first])
    part = RankBatches(order, groups, start=start, first_batch=first, batch_size=1)
    assert [len(part.batch(b)) for b in range(first, len(sizes))] == sizes[first:]
    assert [part.position(b) for b in range(first, len(sizes) + 1)] == [
        sum(sizes[:b]) for b in range(first, len(sizes) + 1)
    ]
    assert part.used(first, len(sizes)).tolist() == order[start:].tolist()
