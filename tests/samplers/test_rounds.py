"""Rounds: where they begin and end, what they know, and the workers that go on from one to the next."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric import Fabric
from support import Indexed, train_loader
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, WeightedRandomSampler

from dynsel.samplers import SelectionController
from dynsel.samplers.planning import Rounds, knobs
from dynsel.schedules import Constant, Linear
from dynsel.selectors import Random


# ---------------------------------------------------------------- lengths
@pytest.mark.parametrize(
    ("keep_ratio", "budget", "wanted"),
    [
        (None, None, (0.5, 1.0)),
        (None, 0.7, (0.5, 0.7)),
        (None, 0.3, (0.3, 0.3)),
        (0.4, None, (0.4, None)),
        (0.7, 0.5, (0.7, 0.5)),
        (1, 1, (1.0, 1.0)),
    ],
)
def test_what_is_not_given_follows_from_what_is(keep_ratio, budget, wanted):
    ratio, spent = knobs(keep_ratio, budget)
    assert (ratio(0.0), spent) == wanted
    selection = SelectionController("random", keep_ratio, budget=budget)
    assert (selection.keep_ratio(0.0), selection.budget) == wanted


@pytest.mark.parametrize("budget", [0, 1.5, -0.1, math.nan])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(ValueError, match=r"`budget` must be in \(0, 1\], got .* so 0.7 spends 70 %"):
        SelectionController("random", budget=budget)
    with pytest.raises(TypeError, match=r"`budget` must be a number, got '0\.5'"):
        SelectionController("random", budget="0.5")  # type: ignore[arg-type]


@given(full=st.integers(1, 3000), budget=st.floats(0.01, 1), ratio=st.floats(0.01, 1), number=st.integers(1, 60))
def test_rounds_lose_nothing_over_a_run(full, budget, ratio, number):
    rounds = Rounds(budget)
    rounds.lay_out(full)
    exact = max(1.0, min(full, ratio * rounds.epoch_batches / budget))
    lengths = [rounds.take(ratio) for _ in range(number)]
    # Each is the exact length but for rounding, and so are they all together.
    assert all(abs(length - exact) < 1 + 1e-6 for length in lengths)
    assert abs(sum(lengths) - number * exact) <= 0.5 + 1e-6
    assert all(1 <= length <= full for length in lengths)


@given(full=st.integers(1, 5000), budget=st.floats(0.05, 1), whole=st.integers(1, 12))
def test_where_an_epoch_is_a_whole_number_of_rounds_each_begins_with_one(full, budget, whole):
    rounds = Rounds(budget)
    rounds.lay_out(full)
    if rounds.epoch_batches < whole:
        return  # rounds of less than a batch are lengthened
    ends = set(itertools.accumulate(rounds.take(budget / whole) for _ in range(5 * whole)))
    assert {epoch * rounds.epoch_batches for epoch in range(1, 6)} <= ends


def test_a_round_that_its_selection_ends_early_begins_the_next_there():
    rounds = Rounds(1.0)
    rounds.lay_out(13)
    assert (rounds.take(0.5), rounds.take(0.5, 4), rounds.rest, rounds.length(0.5)) == (7, 4, 0.0, 7)


# ---------------------------------------------------------------- by hand
class Knows(Random):
    """Notes how many samples were trained on before each of its choices, and how many it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[int] = []
        self.sizes: list[int] = []

    def select(self, progress: float, size: int) -> Any:
        self.known.append(int(self.usage.sum()))
        self.sizes.append(size)
        return super().select(progress, size)


def loop(selection: SelectionController, loader: Any, epochs: int = 3, stop: int | None = None) -> Any:
    """A loop by hand: lists of indices by epoch and batch."""
    loader, seen = selection.wrap(loader), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches = []
        for i, batch in enumerate(itertools.islice(loader, stop)):
            rows = batch[2]
            assert torch.equal(selection.indices(i), rows)
            selection.observe(i, per_sample_loss=torch.rand(len(rows)))
            batches.append(rows.tolist())
        seen.append(batches)
    selection.finish_epoch()
    return seen


@pytest.mark.parametrize("ratio", [0.5, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("budget", [1.0, 0.7, 0.45])
def test_a_round_is_chosen_from_everything_trained_before_it(ratio, budget):
    selector = Knows()
    selection = SelectionController(selector, ratio, budget=budget, max_epochs=3, seed=0)
    seen = loop(selection, train_loader(n=50))
    batches = sum(seen, [])  # noqa: RUF017
    length = max(1, math.floor(budget * 13 + 0.5))
    assert [len(epoch) for epoch in seen] == [length] * 3
    before = [0, *itertools.accumulate(len(batch) for batch in batches)]
    assert set(selector.known) <= set(before)
    # Between two edges no sample comes twice, and no batch is short unless everything is selected.
    edges = [before.index(known) for known in selector.known]
    for start, end in itertools.pairwise([*edges, len(batches)]):
        rows = sum(batches[start:end], [])  # noqa: RUF017
        assert len(set(rows)) == len(rows)
    assert ratio == 1 or {len(batch) for batch in batches} == {4}
    used = torch.bincount(torch.tensor(sum(batches, [])), minlength=50)  # noqa: RUF017
    assert torch.equal(used, selector.usage.long())


@pytest.mark.parametrize(("workers", "persistent"), [(2, False), (4, False), (2, True)])
def test_workers_change_nothing(workers, persistent):
    def run(**options: Any) -> Any:
        torch.manual_seed(5)
        selector = Knows()
        selection = SelectionController(selector, 0.3, budget=1.0, seed=0, max_epochs=3)
        # Where the user's own workers persist, they draw no seed for the second epoch, and its order is another.
        return loop(selection, train_loader(**options), 1 if persistent else 2), selector.known

    assert run(num_workers=workers, persistent_workers=persistent) == run()


class Processes(Dataset[Any]):
    """Item i: the process that read it, and i."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        return os.getpid(), i, i


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_go_on_with_the_next_round_and_end_as_the_user_has_it(persistent):
    selection = SelectionController("random", 0.25, budget=1.0, seed=0)
    loader = selection.wrap(DataLoader(Processes(), 4, shuffle=True, num_workers=2, persistent_workers=persistent))
    processes = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        processes.append({pid for batch in loader for pid in batch[0].tolist()})
    assert [len(found) for found in processes] == [2, 2]
    assert (processes[0] == processes[1]) is persistent
    assert loader.persistent_workers is persistent
    if not persistent:
        assert loader._iterator is None


def test_epochs_that_end_early_go_on_with_the_same_round():
    selector = Knows()
    selection = SelectionController(selector, 0.5, budget=1.0, max_epochs=4, seed=0)
    seen = loop(selection, train_loader(), epochs=4, stop=3)
    assert [len(epoch) for epoch in seen] == [3] * 4
    # Rounds of 5 batches of 4, counted in batches trained.
    assert selector.known == [0, 20, 40]
    assert [record.rounds for record in selection.history] == [1, 2, 1, 2]


def test_a_round_follows_the_schedule_of_keep_ratios():
    selector = Knows()
    selection = SelectionController(selector, Linear(1.0, 0.2), budget=1.0, max_epochs=4, seed=0)
    loop(selection, train_loader(), epochs=4)
    # In whole batches of 4: of each round the ratio at its beginning.
    done, wanted = 0, []
    while done < 40:
        wanted.append(max(1, round((1.0 - 0.8 * done / 40) * 10)) * 4)
        done += wanted[-1] // 4
    assert all(abs(size - want) <= 4 for size, want in zip(selector.sizes, wanted, strict=False))
    assert selector.sizes[0] == 40


def test_feedback_for_a_batch_of_a_round_that_is_over_is_refused():
    selection = SelectionController("random", 0.5, budget=1.0, seed=0)
    loader = selection.wrap(train_loader())
    ahead = iter(loader)
    for _ in range(6):
        next(ahead)
    with pytest.raises(ValueError, match=r"batch 4 was one of a selection that is over: .* without `budget`"):
        selection.observe(4, per_sample_loss=torch.rand(4))


def test_a_loader_that_is_cycled_goes_on_with_rounds():
    selector = Knows()
    selection = SelectionController(selector, 0.5, budget=1.0, seed=0)
    loader = selection.wrap(train_loader())
    seen = [rows for _ in range(2) for batch in loader for rows in batch[2].tolist()]
    selection.flush()
    assert len(seen) == 80
    assert (selector.known, selector.usage.tolist()) == ([0, 20, 40, 60], [2] * 40)


def test_a_selection_of_less_than_a_batch_is_a_round():
    selector = Knows()
    seen = loop(SelectionController(selector, 0.5, budget=1.0, seed=0), train_loader(n=6, batch_size=32), epochs=4)
    assert [[len(batch) for batch in epoch] for epoch in seen] == [[3]] * 4
    assert selector.usage.tolist() == [2] * 6


def test_data_that_drop_last_drops_whole_are_refused():
    selection = SelectionController("random", 0.5, budget=1.0, seed=0)
    loader = selection.wrap(train_loader(n=6, batch_size=32, drop_last=True))
    with pytest.raises(ValueError, match=r"less than one batch of 32 .* drop_last=True"):
        list(loader)


def test_fabric_feeds_the_same_rounds():
    def run(fabric: Fabric | None) -> list[list[int]]:
        torch.manual_seed(5)
        loader = SelectionController("random", 0.3, budget=0.7, seed=0, max_epochs=3).wrap(train_loader())
        feeds = loader if fabric is None else fabric.setup_dataloaders(loader)
        seen = []
        for epoch in range(3):
            if fabric is None:  # Fabric's loader does it by itself
                loader.sampler.set_epoch(epoch)
            seen += [batch[2].tolist() for batch in feeds]
        return seen

    alone = run(None)
    assert run(Fabric(accelerator="cpu", devices=1)) == alone
    assert len(alone) == 21


# ---------------------------------------------------------------- loaders of all kinds
def test_a_loader_without_batches_counts_samples():
    selection = SelectionController("random", 0.5, budget=0.7, seed=0)
    loader = selection.wrap(DataLoader(Indexed(), batch_size=None, shuffle=True))
    assert len(loader) == 28
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        seen += [i for _, _, i in loader]
    assert len(seen) == 56
    assert sorted(seen[:20] + seen[20:40]) == list(range(40))


@pytest.mark.parametrize("drawn", [40, 60, 17])
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_a_sampler_that_draws_with_replacement_keeps_its_own_length(drawn, ratio):
    weights = [1.0 + i for i in range(40)]
    sampler = WeightedRandomSampler(weights, drawn)
    selection = SelectionController("random", ratio, budget=1.0, seed=0)
    seen = loop(selection, train_loader(shuffle=None, sampler=sampler))
    assert [len(epoch) for epoch in seen] == [math.ceil(drawn / 4)] * 3
    if ratio == 1:
        assert [sum(map(len, epoch)) for epoch in seen] == [drawn] * 3


def test_batches_of_the_users_own_making_get_smaller_and_stay_as_many():
    class Uneven(BatchSampler):
        def __iter__(self) -> Any:
            yield from ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9], [10, 11], list(range(12, 40)))

        def __len__(self) -> int:
            return 4

    own = Uneven(RandomSampler(range(40)), 4, drop_last=False)
    selection = SelectionController("random", 0.5, budget=1.0, seed=0)
    loader = selection.wrap(DataLoader(Indexed(), batch_sampler=own))
    assert len(loader) == 4
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        assert len(list(loader)) == 4
    selection.finish_epoch()
    assert int(selection.selector.usage.sum()) == pytest.approx(60, abs=8)


class Backwards(Sampler[int]):
    """An order of the user's own, the same each time."""

    def __iter__(self) -> Any:
        return iter(range(41, -1, -1))

    def __len__(self) -> int:
        return 42


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"shuffle": None, "sampler": Backwards()}])
def test_of_a_subset_that_stays_the_same_no_order_leaves_out_the_same_samples(options):
    selection = SelectionController(Random(static=True), 0.3, budget=1.0, seed=0, max_epochs=8)
    seen = loop(selection, train_loader(n=42, **options), epochs=8)
    assert {len(batch) for epoch in seen for batch in epoch} == {4}
    uses = selection.selector.usage
    assert int((uses > 0).sum()) == 13
    assert int(uses.max() - uses[uses > 0].min()) <= 2


# ---------------------------------------------------------------- state
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_resumed_by_hand_after_any_batch_it_goes_on_as_it_was(ratio):
    def run(state: Any = None, save: list[Any] | None = None) -> list[Any]:
        torch.manual_seed(3)
        selection = SelectionController("ucb", ratio, budget=0.7, max_epochs=3, seed=0)
        if state is not None:
            selection.load_state_dict(state)
        loader, seen = selection.wrap(train_loader(n=50)), []
        for epoch in range(max(0, selection.epoch), 3):
            loader.sampler.set_epoch(epoch)
            first = selection.sampler.first_batch
            for i, batch in enumerate(loader, first):
                rows: Tensor = batch[2]
                seen.append(rows.tolist())
                selection.observe(i, per_sample_loss=torch.sin(rows.float() + epoch))
                if save is not None:
                    save.append(selection.state_dict())
        return seen

    saved: list[Any] = []
    whole = run(save=saved)
    assert len(whole) == len(saved) == 27
    for step, state in enumerate(saved):
        assert run(state) == whole[step + 1 :], step


def test_a_copy_in_mid_round_goes_on_alone():
    import copy

    selection = SelectionController("random", Constant(0.3), budget=1.0, seed=0)
    loader = selection.wrap(train_loader())
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    twin = copy.deepcopy(selection)
    again = twin.wrap(train_loader())
    rest = [batch[2].tolist() for batch in batches]
    state = torch.get_rng_state()
    assert len([batch[2].tolist() for batch in again]) == len(rest) == 6
    torch.set_rng_state(state)
