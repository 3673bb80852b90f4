"""The order cut into batches of candidates, whatever the numbers; the batch sampler in a plain DataLoader."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, WeightedRandomSampler

from dynsel.samplers import BatchSelectionSampler, SelectionController
from dynsel.samplers.batch import batch_of_candidates, keep_in_batches, split_candidates
from dynsel.schedules import Linear, Step
from dynsel.selectors import GSTDS, JEST, RandomInBatch

FEATURES = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))


class FromTheFront(RandomInBatch):
    """Keeps the first candidates, and notes what it was asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[tuple[list[int], int]] = []

    def select_batch(self, candidates: torch.Tensor, count: int, progress: float) -> torch.Tensor:
        self.asked.append((candidates.tolist(), count))
        return torch.arange(count)


# ---------------------------------------------------------------- cutting
@given(st.integers(1, 500), st.integers(1, 40), st.data())
def test_runs_of_candidates(total, batch, data):
    size = data.draw(st.integers(1, total))
    runs, kept = split_candidates(total, size, batch)
    assert [run.start for run in runs] == [0, *[run.stop for run in runs[:-1]]]
    assert runs[-1].stop == total
    assert kept[:-1] == [batch] * (len(kept) - 1)
    assert sum(kept) == size
    assert 1 <= kept[-1] <= batch
    widths = [run.stop - run.start for run in runs]
    assert all(width >= count for width, count in zip(widths, kept, strict=True))
    assert all(abs(width - count * total / size) <= 1 for width, count in zip(widths, kept, strict=True))


@given(st.floats(0.01, 1.0), st.integers(1, 300))
def test_of_a_batch_of_candidates_one_batch_stays(ratio, batch):
    from dynsel.schedules import sample_count

    assert sample_count(ratio, batch_of_candidates(ratio, batch)) == batch


def test_what_is_kept_is_of_each_run():
    order = torch.tensor([5, 3, 9, 1, 7, 0, 8, 2])
    selector = FromTheFront()
    kept = keep_in_batches(selector, order, 4, 2, 0.0)
    assert selector.asked == [([5, 3, 9, 1], 2), ([7, 0, 8, 2], 2)]
    assert order[kept].tolist() == [5, 3, 7, 0]


@pytest.mark.parametrize("size", [0, 9])
def test_more_kept_than_there_are(size):
    with pytest.raises(ValueError, match=f"`size` must be between 1 and the number of candidates, 8, got {size}"):
        split_candidates(8, size, 2)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        split_candidates(8, 4, 0)


def test_a_selector_that_keeps_too_few():
    class Lazy(FromTheFront):
        def select_batch(self, candidates: torch.Tensor, count: int, progress: float) -> torch.Tensor:
            return torch.arange(count - 1) if count > 2 else torch.tensor([0, 7])

    with pytest.raises(ValueError, match="Lazy must keep 3 of 6 candidates, got 2"):
        keep_in_batches(Lazy(), torch.arange(12), 6, 3, 0.0)
    with pytest.raises(ValueError, match="Lazy must keep 2 of 4 candidates, got 2"):
        keep_in_batches(Lazy(), torch.arange(8), 4, 2, 0.0)


# ---------------------------------------------------------------- the batch sampler
def gstds() -> GSTDS:
    selector = GSTDS(seed=1)
    selector.bind(50)
    selector.fit(FEATURES)
    return selector


def epochs(sampler: BatchSelectionSampler, numbers: range, workers: int = 0) -> list[list[list[int]]]:
    found = []
    for number in numbers:
        sampler.set_epoch(number)
        found.append([batch.tolist() for batch in DataLoader(range(50), batch_sampler=sampler, num_workers=workers)])
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("ratio", "sizes"), [(0.4, [4] * 5), (0.5, [4] * 6 + [1]), (1.0, [4] * 12 + [2])])
def test_sizes(workers, ratio, sizes):
    sampler = BatchSelectionSampler(range(50), gstds(), 4, ratio, seed=3)
    (batches,) = epochs(sampler, range(1), workers)
    assert [len(batch) for batch in batches] == sizes
    assert len(sampler) == len(sizes)
    assert len({i for batch in batches for i in batch}) == sum(sizes)
    assert [sampler.indices(i).tolist() for i in range(len(sizes))] == batches


def test_changing_ratio_and_smaller_batches():
    schedule = Step([1.0, 0.5], milestones=[0.5])
    for shrink, sizes in ((False, [[4] * 12 + [2], [4] * 6 + [1]]), (True, [[4] * 12 + [2], [2] * 12 + [1]])):
        sampler = BatchSelectionSampler(range(50), RandomInBatch(shrink=shrink), 4, schedule, max_epochs=2)
        assert [[len(batch) for batch in found] for found in epochs(sampler, range(2))] == sizes


def test_drop_last():
    sampler = BatchSelectionSampler(range(50), RandomInBatch(), 4, 0.5, drop_last=True)
    assert [len(batch) for batch in epochs(sampler, range(1))[0]] == [4] * 6


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_one_choice(world):
    """As many batches on every rank; together what one process would feed, and the padding."""
    alone = epochs(BatchSelectionSampler(range(50), gstds(), 4, 0.4, seed=3), range(2))
    ranks = [
        epochs(BatchSelectionSampler(range(50), gstds(), 4, 0.4, seed=3, num_replicas=world, rank=rank), range(2))
        for rank in range(world)
    ]
    for number in range(2):
        flat = [i for batch in alone[number] for i in batch]
        padded = flat + flat[: -len(flat) % world]
        assert [[i for batch in rank[number] for i in batch] for rank in ranks] == [
            padded[rank::world] for rank in range(world)
        ]


def test_resume_at_every_batch():
    def make() -> BatchSelectionSampler:
        return BatchSelectionSampler(range(50), RandomInBatch(seed=4), 4, 0.5, max_epochs=3, seed=3)

    whole = make()
    for number in range(3):
        whole.set_epoch(number)
        batches = list(whole)
        for done in range(len(batches) + 1):
            resumed = make()
            resumed.load_state_dict(whole.state_dict(done))
            assert list(resumed) == batches[done:]
            assert len(resumed) == len(batches) - done


def test_bad_input():
    with pytest.raises(ValueError, match=r"batches of 8 / 0.1 = 80 candidates are larger than the data set of 50"):
        BatchSelectionSampler(range(50), RandomInBatch(), 8, 0.1)
    with pytest.raises(ValueError, match=r"= 80 candidates .* pass shrink=True to the selector"):
        BatchSelectionSampler(range(50), RandomInBatch(), 8, Linear(1.0, 0.1), max_epochs=4)
    with pytest.raises(ValueError, match="batches of 60 candidates are larger than the data set of 50 samples; lower"):
        BatchSelectionSampler(range(50), RandomInBatch(shrink=True), 60, 0.1)
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\], got 0.0 at progress 1.0"):
        BatchSelectionSampler(range(50), RandomInBatch(), 8, Linear(1.0, 0.0))
    with pytest.raises(TypeError, match=r"`selector` must be a BatchSelector, which chooses before .* got JEST"):
        BatchSelectionSampler(range(50), JEST(), 8)


# ---------------------------------------------------------------- a plain loop
def test_in_a_plain_loop_with_the_books():
    selection = SelectionController(GSTDS(), 0.4, features=FEATURES, max_epochs=3, seed=0)
    loader = selection.wrap(DataLoader(range(50), 4, shuffle=True))
    for number in range(3):
        loader.sampler.set_epoch(number)
        assert [len(batch) for batch in loader] == [4] * 5
    assert selection.finish_epoch().samples_trained == 60
    assert int(selection.selector.usage.sum()) == 60


def test_a_sampler_that_draws_some_twice():
    """The order is the sampler's own; of what comes up twice one, both or none may stay."""
    weighted = WeightedRandomSampler([1.0] * 10 + [0.0] * 40, 40)
    selection = SelectionController(RandomInBatch(), 0.5, max_epochs=3, seed=0)
    loader = selection.wrap(DataLoader(range(50), 4, sampler=weighted))
    for number in range(3):
        loader.sampler.set_epoch(number)
        batches = [batch.tolist() for batch in loader]
        assert [len(batch) for batch in batches] == [4] * 5
        assert [selection.indices(i).tolist() for i in range(5)] == batches
        assert {i for batch in batches for i in batch} <= set(range(10))
    assert selection.finish_epoch().samples_trained == 60


def test_a_proxy_in_a_plain_loop():
    from torch.utils.data import TensorDataset

    from dynsel.selectors import Proxy

    data = TensorDataset(FEATURES, (FEATURES[:, 0] > 0).long())
    proxy = Proxy(model="torch.nn.Linear", arguments={"in_features": 4, "out_features": 2})
    selection = SelectionController(proxy, 0.5, max_epochs=2, seed=0)
    loader = selection.wrap(DataLoader(data, 5, shuffle=True, num_workers=1))
    before = torch.get_rng_state()
    for number in range(2):
        loader.sampler.set_epoch(number)
        if not number:
            assert torch.equal(torch.get_rng_state(), before)
        assert [len(x) for x, _ in loader] == [5] * 5
    assert selection.finish_epoch().samples_scored == 100


def test_a_loader_without_batches():
    selection = SelectionController(RandomInBatch(), 0.5)
    with pytest.raises(ValueError, match="RandomInBatch chooses inside batches: give the loader a `batch_size`"):
        selection.wrap(DataLoader(range(50), batch_size=None))
