"""The sampler that takes the place of a loader's own."""

from __future__ import annotations

import warnings

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


@pytest.mark.parametrize(
    ("targets", "exclude", "said"),
    [
        ([0, 0, 1, 1, 2, 2], [0, 1, 2], "the class 0: training never sees it;"),
        (["b", "b", "a", "a", "c", "c"], [0, 1, 2, 3], "the 2 classes 'a', 'b': training never sees them;"),
        (torch.arange(14) // 2, list(range(12)), "the 6 classes 0, 1, 2, 3, 4, ...: training never sees them;"),
        ([0, 0, 1, 1], [0, 2], None),
        ([5, 7, 6, 1, 3, 2], [0, 1], None),  # numbers that are no classes
        ([0.5, 0.25, 0.75, 0.1, 0.3], [0, 1], None),
        (torch.eye(4), [0, 1], None),
    ],
)
def test_classes_of_which_nothing_is_left_are_named(targets, exclude, said):
    data = TensorDataset(torch.arange(len(targets)))
    data.targets = targets
    for rank in (0, 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first = sampler_for(DataLoader(data, shuffle=True), num_replicas=2, rank=rank, exclude=exclude)
            sampler_for(DataLoader(data, sampler=first), num_replicas=2, rank=rank, exclude=exclude)
        texts = [str(each.message) for each in caught]
        assert len(texts) == (said is not None and rank == 0)
        assert all(f"`exclude` leaves out every sample of {said} take some" in text for text in texts)


def test_where_nothing_is_to_be_left_out_any_sampler_is_fine():
    assert len(list(sampler_for(DataLoader(DATA, sampler=SelectionSampler(DATA, seed=0)), exclude=[]))) == N


def test_a_loader_whose_samples_were_left_out_may_come_again():
    """As when Fabric makes a loader of its own around our sampler."""
    first = sampler_for(DataLoader(DATA, shuffle=True), exclude=[3, 8])
    again = sampler_for(DataLoader(DATA, sampler=first), exclude=[3, 8])
    assert again is first
