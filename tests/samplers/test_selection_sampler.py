"""The order of an epoch: torch's own, of which the selected part stays; the same after a resume."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from dynsel.samplers import SelectionSampler, selection_sampler
from dynsel.selection import Selection

N = 23
DATA = TensorDataset(torch.arange(N))
subsets = st.sets(st.integers(0, N - 1), min_size=1).map(sorted)


def torchs(epoch: int, *, seed: int = 0, world: int = 1, rank: int = 0, shuffle: bool = True) -> list[int]:
    """What torch's own sampler feeds."""
    sampler = DistributedSampler(DATA, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def batched(sampler: SelectionSampler, batch_size: int = 4, *, drop_last: bool = False) -> SelectionSampler:
    sampler.make_batches(batch_size, drop_last)
    return sampler


def saved(state: dict) -> dict:
    """Through a file, as a checkpoint goes, without unpickling anything."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# ---------------------------------------------------------------- order
@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_whole_set_comes_as_from_torch(world, shuffle):
    for rank in range(world):
        sampler = SelectionSampler(DATA, seed=5, shuffle=shuffle, num_replicas=world, rank=rank)
        for epoch in (0, 1, 7):
            sampler.set_epoch(epoch)
            assert list(sampler) == torchs(epoch, seed=5, world=world, rank=rank, shuffle=shuffle)


@given(subsets, st.integers(0, 50), st.integers(0, 5))
def test_a_selection_is_that_order_filtered(chosen, seed, epoch):
    sampler = SelectionSampler(DATA, seed=seed)
    sampler.set_epoch(epoch)
    sampler.select(chosen)
    assert list(sampler) == [i for i in torchs(epoch, seed=seed) if i in chosen]
    assert len(sampler) == sampler.count == len(chosen)
    assert sampler.draw().tolist() == list(sampler)
    sampler.select(None)
    assert list(sampler) == torchs(epoch, seed=seed)


def test_unshuffled_it_keeps_the_data_sets_order():
    sampler = SelectionSampler(DATA, shuffle=False)
    sampler.select({9, 4, 17})
    assert list(sampler) == [4, 9, 17]


def test_every_epoch_has_its_own_order_and_comes_back():
    sampler = SelectionSampler(DATA)
    orders = []
    for epoch in (0, 1, 2, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[3:] == [orders[1], orders[0]]
    assert orders[0] != orders[1] != orders[2]


def test_selections_are_taken_in_any_form():
    sampler = SelectionSampler(DATA, shuffle=False)
    for chosen in (
        [5, 2],
        torch.tensor([5, 2]),
        torch.tensor([5, 2], dtype=torch.int32),
        Selection(torch.tensor([5, 2])),
    ):
        sampler.select(chosen)
        assert list(sampler) == [2, 5]


def test_weights_follow_their_samples():
    sampler = SelectionSampler(DATA)
    assert sampler.weights is None
    for dtype in (torch.int64, torch.int32):
        sampler.select(Selection(torch.tensor([7, 3], dtype=dtype), torch.tensor([0.5, 4.0])))
        assert sampler.weights[[3, 7]].tolist() == [4.0, 0.5]
    sampler.select([1])
    assert sampler.weights is None


def test_the_seed_is_lightnings_unless_given(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "11")
    assert list(SelectionSampler(DATA)) == torchs(0, seed=11)
    assert list(SelectionSampler(DATA, seed=2)) == torchs(0, seed=2)
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert list(SelectionSampler(DATA)) == torchs(0, seed=0)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    sampler = SelectionSampler(DATA)
    sampler.select([1, 2, 3])
    list(sampler)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- a sampler that the user had
def bases() -> dict[str, object]:
    return {
        "sequential": SequentialSampler(DATA),
        "random": RandomSampler(DATA, generator=torch.Generator().manual_seed(4)),
        "fewer": RandomSampler(DATA, num_samples=10, generator=torch.Generator().manual_seed(4)),
        "weighted": WeightedRandomSampler([1.0] * N, 40, generator=torch.Generator().manual_seed(4)),
        "list": [3, 1, 3, 8, 22],
        "tensors": [torch.tensor(3), torch.tensor(1)],
    }


every_base = pytest.mark.parametrize("name", list(bases()))


@every_base
def test_a_base_keeps_its_own_order(name):
    sampler = SelectionSampler(DATA, base=bases()[name])
    assert list(sampler) == [int(i) for i in bases()[name]]
    chosen = [1, 3, 8, 9, 10, 15]
    filtered = SelectionSampler(DATA, base=bases()[name])
    filtered.select(chosen)
    wanted = [int(i) for i in bases()[name] if int(i) in chosen]
    assert list(filtered) == wanted
    assert len(filtered) == filtered.count == len(wanted)
    # Asked again within the epoch, it is the same draw.
    assert list(filtered) == wanted


def test_a_random_base_draws_anew_each_epoch_as_it_would_have():
    alone, filtered = bases()["random"], SelectionSampler(DATA, base=bases()["random"])
    filtered.select(range(0, N, 2))
    for epoch in range(3):
        filtered.set_epoch(epoch)
        assert list(filtered) == [i for i in alone if i % 2 == 0]


def test_a_base_is_told_the_epoch():
    base = DistributedSampler(DATA, num_replicas=1, rank=0, seed=6)
    sampler = SelectionSampler(DATA, base=base)
    sampler.set_epoch(3)
    assert list(sampler) == torchs(3, seed=6)


def test_a_base_that_draws_none_of_the_selected():
    sampler = SelectionSampler(DATA, base=[1, 2, 3])
    sampler.select([8])
    with pytest.raises(ValueError, match="epoch 0: the sampler drew none of the selected samples"):
        list(sampler)


# ---------------------------------------------------------------- batches
@given(subsets, st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_batches_are_those_of_the_order(chosen, world, batch_size, drop_last):
    ranks = []
    for rank in range(world):
        sampler = SelectionSampler(DATA, seed=1, num_replicas=world, rank=rank)
        sampler.select(chosen)
        ranks.append(batched(sampler, batch_size, drop_last=drop_last))
    fed: list[int] = []
    for sampler in ranks:
        mine = list(sampler)
        count = len(mine) // batch_size if drop_last else -(-len(mine) // batch_size)
        assert sampler.num_batches() == sampler.num_batches(len(chosen)) == count
        for b in range(count):
            assert sampler.part.batch(b).tolist() == mine[b * batch_size : (b + 1) * batch_size]
        fed += mine[: count * batch_size]
    # What all ranks together used is known on each of them.
    assert all(Counter(sampler.part.used(0, sampler.num_batches()).tolist()) == Counter(fed) for sampler in ranks)


def test_used_runs_join_up():
    sampler = batched(SelectionSampler(DATA, num_replicas=2, rank=1, seed=0))
    sampler.select(range(1, 18))
    whole = sampler.part.used(0, 3).tolist()
    assert sampler.part.used(0, 1).tolist() + sampler.part.used(1, 3).tolist() == whole
    assert [sampler.part.position(b) for b in range(4)] == [0, 8, 16, 18]  # 17 samples, padded to 18
    assert sampler.part.used(2, 2).tolist() == []


# ---------------------------------------------------------------- state
@given(subsets, st.integers(1, 3), st.integers(0, 6), st.integers(0, 3))
def test_a_state_goes_on_where_it_was_taken(chosen, world, batches, epoch):
    def make(rank: int, seed: int) -> SelectionSampler:
        return batched(SelectionSampler(DATA, seed=seed, num_replicas=world, rank=rank))

    for rank in range(world):
        sampler = make(rank, seed=3)
        sampler.set_epoch(epoch)
        sampler.select(chosen)
        done = min(batches, sampler.num_batches())
        resumed = make(rank, seed=99)
        resumed.load_state_dict(saved(sampler.state_dict(done)))
        resumed.set_epoch(epoch)  # as a trainer does again after a resume
        assert list(resumed) == list(sampler)[done * 4 :]
        assert resumed.num_batches() == sampler.num_batches()
        assert [resumed.part.batch(b).tolist() for b in range(done, resumed.num_batches())] == [
            sampler.part.batch(b).tolist() for b in range(done, sampler.num_batches())
        ]
        for s in (sampler, resumed):
            s.set_epoch(epoch + 1)
        assert list(resumed) == list(sampler)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_state_goes_on_on_another_number_of_ranks(before, after):
    chosen = range(2, 20)  # 18 samples divide by all of these worlds
    sampler = batched(SelectionSampler(DATA, seed=3, num_replicas=before), batch_size=2)
    sampler.select(chosen)
    state = saved(sampler.state_dict(2))
    rest = Counter(sampler.draw().tolist()) - Counter(sampler.part.used(0, 2).tolist())
    fed: Counter[int] = Counter()
    for rank in range(after):
        resumed = batched(SelectionSampler(DATA, seed=0, num_replicas=after, rank=rank), batch_size=2)
        resumed.load_state_dict(state)
        fed += Counter(list(resumed))
    assert not rest - fed
    assert (fed - rest).total() < after  # filled up from the epoch's front, for equal shares


@every_base
@pytest.mark.parametrize("done", [0, 1])
def test_a_state_holds_the_order_of_a_base(name, done):
    sampler = batched(SelectionSampler(DATA, base=bases()[name]), batch_size=2)
    sampler.select([1, 3, 8, 9, 10, 15, 20])
    order = list(sampler)
    # Its generator has moved on, or is another one: the draw can't be repeated.
    resumed = batched(SelectionSampler(DATA, base=RandomSampler(DATA)), batch_size=2)
    resumed.load_state_dict(saved(sampler.state_dict(done)))
    assert list(resumed) == order[2 * done :]


def test_a_state_holds_weights_and_is_small():
    sampler = SelectionSampler(range(8000))
    sampler.select(Selection(torch.tensor([5, 6]), torch.tensor([2.0, 3.0])))
    state = sampler.state_dict()
    assert state["mask"].nbytes == 1000
    resumed = SelectionSampler(range(8000))
    resumed.load_state_dict(saved(state))
    assert resumed.weights[[5, 6]].tolist() == [2.0, 3.0]
    sampler.weights[5] = 9.0
    assert state["weights"][5] == 2.0


def test_a_state_without_a_selection():
    sampler, resumed = SelectionSampler(DATA, seed=4), SelectionSampler(DATA, seed=5)
    resumed.load_state_dict(saved(sampler.state_dict()))
    assert list(resumed) == torchs(0, seed=4)


def test_a_state_of_another_data_set():
    state = SelectionSampler(range(7)).state_dict()
    with pytest.raises(ValueError, match=f"the state is of a data set of 7 samples, this one has {N}"):
        SelectionSampler(DATA).load_state_dict(state)


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2)])
def test_bad_ranks(rank, world):
    with pytest.raises(ValueError, match=rf"`rank` must be in 0 .. num_replicas - 1 = {world - 1}, got {rank}"):
        SelectionSampler(DATA, num_replicas=world, rank=rank)


def test_a_base_of_several_ranks():
    with pytest.raises(ValueError, match="`base` orders differ between processes; with several ranks leave it out"):
        SelectionSampler(DATA, base=RandomSampler(DATA), num_replicas=2)


def test_no_samples():
    with pytest.raises(ValueError, match="`data_source` must be a data set with at least one entry"):
        SelectionSampler([])


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ([], "epoch 2: empty selection; an epoch must train on at least one sample"),
        ([0, N], f"selected indices must be in 0 .. {N - 1}, got 0 .. {N}"),
        ([-1, 4], f"selected indices must be in 0 .. {N - 1}, got -1 .. 4"),
        ([4, 5, 4], "a selection must hold each index at most once, got duplicates"),
    ],
)
def test_bad_selections_leave_the_last_one(chosen, text):
    sampler = SelectionSampler(DATA)
    sampler.set_epoch(2)
    sampler.select([3])
    with pytest.raises(ValueError, match=text):
        sampler.select(chosen)
    assert list(sampler) == [3]


def test_a_data_set_that_changes_its_length():
    data = list(range(10))
    sampler = SelectionSampler(data)
    data.append(10)
    with pytest.raises(ValueError, match=r"changed its length from 10 to 11 between epochs; .* start a new run"):
        sampler.set_epoch(1)


# ---------------------------------------------------------------- large data sets
def test_the_order_is_handed_out_in_chunks(monkeypatch):
    monkeypatch.setattr(selection_sampler, "CHUNK", 3)
    sampler = SelectionSampler(DATA, seed=0)
    assert list(sampler) == sampler.draw().tolist()
