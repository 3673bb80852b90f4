"""The sampler that takes the place of a loader's own."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from dynsel import SelectionSampler
from dynsel.samplers import sampler_for

N = 23
DATA = TensorDataset(torch.arange(N))


def test_the_sampler_of_a_loader():
    assert isinstance(sampler_for(DataLoader(DATA)).whole.base, SequentialSampler)
    assert isinstance(sampler_for(DataLoader(DATA, shuffle=True)).whole.base, RandomSampler)
    assert sampler_for(DataLoader(DATA, shuffle=True), num_replicas=2, rank=1).whole.base is None
    loader = DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=2, rank=0, seed=9))
    assert list(sampler_for(loader, num_replicas=2, rank=1)) == list(
        DistributedSampler(DATA, num_replicas=2, rank=1, seed=9)
    )


KEPT = torch.tensor([i for i in range(N) if i not in (3, 8)])


@pytest.mark.parametrize("sampler", [SelectionSampler(DATA, seed=0), SubsetRandomSampler(range(5))])
def test_an_own_sampler_that_feeds_what_is_to_be_left_out_is_refused(sampler):
    name = type(sampler).__name__
    with pytest.raises(ValueError, match=rf"`exclude` is for loaders .* sampler of its own \({name}\): leave"):
        sampler_for(DataLoader(DATA, sampler=sampler), exclude=[3, 8])


@pytest.mark.parametrize("sampler", [SelectionSampler(DATA, pool=KEPT, seed=0), SubsetRandomSampler(KEPT.tolist())])
def test_an_own_sampler_that_leaves_it_out_already_is_fine(sampler):
    fed = list(sampler_for(DataLoader(DATA, sampler=sampler), exclude=[3, 8]))
    assert sorted(fed) == KEPT.tolist()


def test_where_nothing_is_to_be_left_out_any_sampler_is_fine():
    assert len(list(sampler_for(DataLoader(DATA, sampler=SelectionSampler(DATA, seed=0)), exclude=[]))) == N


def test_a_loader_whose_samples_were_left_out_may_come_again():
    """As when Fabric makes a loader of its own around our sampler."""
    first = sampler_for(DataLoader(DATA, shuffle=True), exclude=[3, 8])
    again = sampler_for(DataLoader(DATA, sampler=first), exclude=[3, 8])
    assert again is first
