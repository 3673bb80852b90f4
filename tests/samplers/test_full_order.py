"""The order of everything: what is known of it before it is drawn, and which sample a position is."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler

from dynsel.samplers.full_order import FullOrder

N = 23
DATA = range(N)
# By name: a sampler, whether it yields every sample once, and as how many it counts before it is drawn.
BASES = {
    "none": (None, True, N),
    "sequential": (SequentialSampler(DATA), True, N),
    "random": (RandomSampler(DATA), True, N),
    "all of a subset": (SubsetRandomSampler(range(N)), True, N),
    "one twice": (SubsetRandomSampler([*range(N - 1), 0]), False, N),
    "fewer": (RandomSampler(DATA, num_samples=10), False, 10),
    "weighted": (WeightedRandomSampler([1.0] * N, 40), False, 40),
    "list": ([3, 1, 3], False, 3),
    "view": ({3: 0, 1: 0}.keys(), False, 2),
}


@pytest.mark.parametrize("name", BASES)
def test_what_is_known_before_the_draw(name):
    base, permutation, expected = BASES[name]
    whole = FullOrder(DATA, base=base)
    assert (whole.is_permutation, whole.expected) == (permutation, expected)
    order, groups = whole.draw(0)
    assert (len(order), groups) == (expected, None)


def test_batches_of_the_users_own_stay_together():
    whole = FullOrder(DATA, base=[[3, 1], [8], [3]], own_batches=True)
    order, groups = whole.draw(0)
    assert (order.tolist(), groups.tolist()) == ([3, 1, 8, 3], [0, 0, 1, 2])
    assert whole.expected == N  # a batch sampler tells batches, not samples


def test_by_seed_a_shuffle_is_another_than_the_samplers():
    whole = FullOrder(DATA, base=RandomSampler(DATA, generator=torch.Generator().manual_seed(1)), seed=4)
    wanted = torch.randperm(N, generator=torch.Generator().manual_seed(4 + 2))
    assert torch.equal(whole.draw(2, by_seed=True)[0], wanted)
    assert torch.equal(whole.draw(2, by_seed=True)[0], wanted)
    assert not torch.equal(whole.draw(2)[0], whole.draw(2)[0])


def test_positions_of_a_pool():
    whole = FullOrder(DATA, base=[4, 9], pool=torch.tensor([4, 9, 17]))
    assert whole.num_total == 3
    assert whole.draw(0)[0].tolist() == [0, 1]
    assert whole.dataset_indices(torch.tensor([2, 0])).tolist() == [17, 4]
    assert whole.positions_of(torch.tensor([17, 4, 5, 22])).tolist() == [2, 0, 3, 3]
    assert whole.is_alike(FullOrder(DATA, pool=torch.tensor([4, 9, 17])))
    assert not whole.is_alike(FullOrder(DATA, pool=torch.tensor([4, 9, 18])))
    assert not whole.is_alike(FullOrder(range(3)))


def test_a_copy_without_data_draws_by_the_seed_only():
    with_base = FullOrder(DATA, base=RandomSampler(DATA)).without_data()
    with pytest.raises(RuntimeError, match="has no data to feed from"):
        with_base.draw(0)
    by_seed = FullOrder(DATA, seed=3)
    assert torch.equal(by_seed.without_data().draw(1)[0], by_seed.draw(1)[0])
