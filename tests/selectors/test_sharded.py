"""Choosing from shards: the same on any number of processes, and hardly otherwise than from all samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from selectors_shards import Alone, together

from dynsel.selection import top_k
from dynsel.selectors import AUM, UCB, EpsilonGreedy, Feedback, Forgetting, Hybrid, LossRank, Random, checked_selection
from dynsel.selectors.population import Population
from dynsel.selectors.sharded import ShardedPopulation
from dynsel.selectors.shards import Shards, fit_cdf
from dynsel.usage import coverage, gini

SIZE, SHARDS, EPOCHS = 1000, 8, 6
DRAW = np.random.default_rng(5)
LOSSES = torch.from_numpy(DRAW.lognormal(size=(EPOCHS, SIZE)).astype(np.float32))
LABELS = torch.from_numpy(DRAW.choice(5, SIZE, p=[0.6, 0.2, 0.1, 0.06, 0.04]).astype(np.int16))
METHODS: dict[str, Any] = {
    "random": Random,
    "static": lambda: Random(static=True),
    "hybrid": Hybrid,
    "hybrid, loss and noise": lambda: Hybrid(terms={"loss": 1.0, "uncertainty": 0.5}, noise=0.1, clip=0.05),
    "hybrid, balanced": lambda: Hybrid(class_balance=True),
    "loss rank": LossRank,
    "loss rank, balanced": lambda: LossRank(class_balance=True),
    "epsilon-greedy": EpsilonGreedy,
    "ucb": UCB,
    "aum": lambda: AUM(warmup=0.5),
    "forgetting": lambda: Forgetting(warmup=0.3),
}


def run(make, rank: int, ranks: int, reduce: Any, size: int = SIZE, shards: int = SHARDS) -> tuple[list[Any], Any, Any]:
    """What one process of several chooses in each epoch, as data set indices; and its selector."""
    part = Shards(size, shards, num_ranks=ranks, rank=rank, seed=3)
    selector = make()
    selector.population = population = ShardedPopulation(part, reduce)
    selector.shrink_state()
    own = part.indices(np.arange(part.num_own))
    labels = LABELS[own]
    population.count_classes(labels, 5)
    selector.bind(part.num_own, labels, seed=11)
    chosen = []
    for epoch in range(EPOCHS):
        quota = part.quota(int(0.4 * size))
        selection = checked_selection(selector, epoch / EPOCHS, quota * len(part.own))
        indices = own[selection.indices.numpy()]
        chosen.append(np.sort(indices))
        values = LOSSES[epoch][indices]
        # One sample never has a finite number.
        values = torch.where(torch.from_numpy(indices == 7), torch.nan, values)
        told = dict.fromkeys(selector.wants, values)
        if isinstance(selector, Forgetting):
            told = {"value": (values > 1).float()}
        selector.observe(Feedback(selection.indices, **told))
    return chosen, population.coverage(selector.usage), population.gini(selector.usage)


@pytest.mark.parametrize("name", METHODS)
def test_any_number_of_processes_chooses_the_same(name):
    alone = run(METHODS[name], 0, 1, Alone())
    for ranks in (2, 4):
        found, _ = together(ranks, lambda rank, reduce, ranks=ranks: run(METHODS[name], rank, ranks, reduce))
        for epoch in range(EPOCHS):
            together_chosen = np.sort(np.concatenate([chosen[epoch] for chosen, *_ in found]))
            assert np.array_equal(together_chosen, alone[0][epoch]), (ranks, epoch)
        assert [books for _, *books in found] == [list(alone[1:])] * ranks


@pytest.mark.parametrize("name", METHODS)
def test_processes_choose_as_many_each_and_nothing_twice(name):
    found, _ = together(4, lambda rank, reduce: run(METHODS[name], rank, 4, reduce))
    for epoch in range(EPOCHS):
        parts = [chosen[epoch] for chosen, *_ in found]
        assert {len(part) for part in parts} == {100}
        assert len(np.unique(np.concatenate(parts))) == 400


def test_random_rotates():
    chosen, covered, _ = run(Random, 0, 1, Alone())
    uses = np.bincount(np.concatenate(chosen), minlength=SIZE)
    assert uses.max() - uses.min() <= 1
    assert covered == 1.0


def test_classes_have_their_share():
    chosen, *_ = run(METHODS["hybrid, balanced"], 0, 1, Alone())
    shares = np.bincount(LABELS.numpy()) / SIZE
    for indices in chosen:
        counts = np.bincount(LABELS.numpy()[indices], minlength=5)
        assert np.abs(counts - 400 * shares).max() < 1


def test_books_are_those_of_all_samples():
    _, covered, spread = run(Hybrid, 0, 1, Alone())
    usage = torch.zeros(SIZE, dtype=torch.int32)
    for indices in run(Hybrid, 0, 1, Alone())[0]:
        usage[indices] += 1
    assert covered == coverage(usage)
    assert spread == pytest.approx(gini(usage), abs=1e-12)


@pytest.mark.parametrize("order", ["shuffled", "sorted", "periodic"])
@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_quotas_keep_the_exact_top_share(order, ratio):
    """All but 0.4 √((1 - ρ) / q), on data in any order: from one state, shard by shard against all at once."""
    size, shards = 400_000, 64
    losses = DRAW.lognormal(size=size).astype(np.float32)
    if order == "sorted":
        losses.sort()
    elif order == "periodic":
        losses = np.sort(losses).reshape(64, -1).T.ravel().copy()
    part = Shards(size, shards, seed=1)
    own = part.indices(np.arange(size))
    population = ShardedPopulation(part, Alone())
    quota = part.quota(int(ratio * size))
    chosen = own[population.highest(population.ranks(torch.from_numpy(losses[own]), 0.0), quota * shards).numpy()]
    best = top_k(torch.from_numpy(losses), quota * shards).numpy()
    lost = 1 - len(np.intersect1d(chosen, best)) / len(best)
    law = 0.4 * np.sqrt((1 - ratio) / quota)
    assert 0.6 * law < lost < 1.5 * law


def test_a_single_shard_is_the_choice_from_all_samples():
    """One epoch from the same state: the part by score differs by what the ranks of the cells leave undecided."""
    size = 50_000
    average = torch.from_numpy(DRAW.lognormal(size=size).astype(np.float32))
    usage = torch.from_numpy(DRAW.integers(1, 5, size))
    part = Shards(size, 1, seed=2)
    own = part.indices(np.arange(size))
    chosen = []
    for sharded in (True, False):
        selector = LossRank(gamma=0.3, noise=0.0, seed=0)
        rows = own if sharded else np.arange(size)
        if sharded:
            selector.population = ShardedPopulation(part, Alone())
            selector.shrink_state()
        selector.bind(size)
        selector.usage += usage[rows].to(selector.usage.dtype)
        selector.average[:] = average[rows]
        chosen.append(np.sort(rows[selector.select(0.5, size // 2).indices.numpy()]))
    assert len(np.setdiff1d(*chosen)) <= 2


@pytest.mark.parametrize("values", ["tied", "unknown", "unknown on one rank"])
def test_without_any_difference_there_is_still_a_choice(values):
    def work(rank, reduce):
        part = Shards(64, 4, num_ranks=2, rank=rank)
        population = ShardedPopulation(part, reduce)
        average = torch.full((part.num_own,), 1.0 if values == "tied" or (values != "unknown" and rank) else torch.nan)
        return population.highest(population.ranks(average, 0.0), 16), fit_cdf(average.numpy(), reduce) is None

    found, _ = together(2, work)
    assert [len(rows) for rows, _ in found] == [16, 16]
    assert [none for _, none in found] == [values == "unknown"] * 2


def test_what_travels_does_not_grow_with_the_data():
    def traffic(size):
        def make():
            return Hybrid(gamma=0.1)

        def work(rank, reduce):
            part = Shards(size, 8, num_ranks=2, rank=rank)
            selector = make()
            selector.population = ShardedPopulation(part, reduce)
            selector.bind(part.num_own)
            rows = torch.arange(part.num_own)
            selector.observe(Feedback(rows, value=torch.from_numpy(DRAW.lognormal(size=len(rows)).astype(np.float32))))
            return selector.select(0.5, part.quota(size // 2) * 4)

        return together(2, work)[1]

    small, large = traffic(100_000), traffic(1_000_000)
    assert small < 1 << 20
    assert large < 1.2 * small


def test_counts_stay_small():
    part = Shards(100, 4)
    for make, wanted in ((Hybrid, 6), (lambda: AUM(warmup=0.5), 8), (lambda: Forgetting(warmup=0.5), 6)):
        selector = make()
        selector.population = ShardedPopulation(part, Alone())
        selector.shrink_state()
        selector.bind(part.num_own)
        state = selector.state_dict()
        tensors = [value for name, value in state.items() if name not in ("generator", "made_by")]
        assert sum(t.nbytes for t in tensors) == wanted * 100


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_many_samples_are_ranked_by_counting_in_one_process_too(monkeypatch, clip):
    average = torch.from_numpy(DRAW.lognormal(size=20_000).astype(np.float32))
    average[::9] = torch.nan
    sorted_ranks = Population().ranks(average, clip)
    monkeypatch.setattr("dynsel.selectors.population.SORTED_UNTIL", 20_000)
    ranks = Population().ranks(average, clip)
    assert not torch.equal(ranks, sorted_ranks)
    assert (ranks - sorted_ranks).abs().median() < 1e-4
    assert torch.equal(Population().ranks(torch.full((20_000,), torch.nan), clip), torch.ones(20_000))
