"""The sampler that takes the place of a loader's own."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler, TensorDataset

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
