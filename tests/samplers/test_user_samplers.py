"""Samplers and batch samplers of the user's own: a selection chooses among what they yield."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import Listening, Sizes
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from dynsel.samplers import SelectionController
from dynsel.selectors import SELECTORS, CandidateSelector, Random
from dynsel.selectors.score_selector import ScoreSelector

N = 200
# A data set of which the last tenth is a rare class; a sample's last entry is its number.
RARE = (torch.arange(N) >= 180).long()
FEATURES = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(FEATURES, torch.arange(N), RARE)


def controller(selector: Any = "random", keep_ratio: float = 0.5, **options: Any) -> SelectionController:
    return SelectionController(selector, keep_ratio, max_epochs=8, seed=0, **options)


def train(selection: SelectionController, loader: Any, epochs: int = 8) -> list[list[list[int]]]:
    """What each epoch's batches held; told are losses that don't change."""
    seen, loss = [], FEATURES[:, 0].exp()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches = []
        for step, (_, i, _) in enumerate(loader):
            assert selection.indices(step).tolist() == i.tolist()
            selection.observe(step, per_sample_loss=loss[i], value=loss[i])
            batches.append(i.tolist())
        seen.append(batches)
    selection.finish_epoch()
    return seen


def flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


# ---------------------------------------------------------------- a part of the data set
FOLD = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:100].tolist()
# Those that cut batches need a network; full and InfoBatch decide their sizes by themselves.
EXACT = sorted(
    name for name, cls in SELECTORS.items() if cls.exact and not issubclass(cls, CandidateSelector) and name != "proxy"
)


@pytest.mark.parametrize("name", EXACT)
def test_every_method_chooses_among_the_samples_of_a_fold(name):
    arguments = {"trusted": FOLD[:9]} if name == "alignprune" else {}
    selection = controller(SELECTORS[name](**arguments), 0.3, features=FEATURES)
    loader = selection.wrap(DataLoader(DATA, 8, sampler=SubsetRandomSampler(FOLD)))
    seen = [flat(batches) for batches in train(selection, loader, 4)]
    assert [len(set(epoch)) for epoch in seen] == [30] * 4
    assert {i for epoch in seen for i in epoch} <= set(FOLD)
    record = selection.history[-1]
    assert (record.keep_ratio, record.samples_trained) == (0.3, 120)
    # Shares are those of the fold.
    counts = Counter(i for epoch in seen for i in epoch)
    assert record.coverage == pytest.approx(len(counts) / 100)


def test_a_selector_knows_the_fold_only():
    class Sees(Random):
        needs_features = True
        rows: Any = None

        @property
        def ready(self) -> bool:
            return self.rows is not None

        def fit(self, features: Any) -> None:
            self.rows, self.codes = features, self.labels

    for features in (FEATURES, FEATURES.numpy()):
        selection = controller(Sees(class_balance=True), features=features, labels=RARE.tolist())
        loader = selection.wrap(DataLoader(DATA, 8, sampler=SubsetRandomSampler(FOLD)))
        loader.sampler.set_epoch(0)
        pool = sorted(FOLD)
        assert torch.equal(torch.as_tensor(selection.selector.rows), FEATURES[pool])
        assert selection.selector.codes.tolist() == RARE[pool].tolist()


@pytest.mark.parametrize("sampler", [SubsetRandomSampler(FOLD), FOLD, range(0, N, 2)])
@pytest.mark.parametrize("workers", [0, 1])
def test_at_keep_ratio_1_a_fold_is_trained_as_without_selection(sampler, workers):
    loader = DataLoader(DATA, 8, sampler=sampler, num_workers=workers)
    torch.manual_seed(3)
    plain = [[i.tolist() for _, i, _ in loader] for _ in range(3)]
    selection = controller("full", 1.0)
    torch.manual_seed(3)
    assert train(selection, selection.wrap(loader), 3) == plain


def test_a_selectors_own_arguments_are_of_the_data_set():
    fold = SubsetRandomSampler([3, 5, 50, 199])
    trusted = SELECTORS["alignprune"](trusted=[4, 5, 199])
    controller(trusted, 0.5).wrap(DataLoader(DATA, 2, sampler=fold))
    assert trusted._trusted.tolist() == [1, 3]
    with pytest.raises(ValueError, match="`trusted` must name samples that the loader's sampler yields"):
        controller(SELECTORS["alignprune"](trusted=[4]), 0.5).wrap(DataLoader(DATA, 2, sampler=fold))
    for reference in (torch.arange(float(N)), torch.tensor([3.0, 5.0, 50.0, 199.0])):
        jest = SELECTORS["jest"](reference=reference)
        controller(jest, 0.5).wrap(DataLoader(DATA, 2, sampler=fold))
        assert jest._losses.tolist() == [3.0, 5.0, 50.0, 199.0]


def test_a_fold_is_gone_through_evenly():
    selection = controller("random", 0.3)
    train(selection, selection.wrap(DataLoader(DATA, 8, sampler=SubsetRandomSampler(FOLD))), 8)
    assert sorted(set(selection.selector.usage.tolist())) == [2, 3]


def test_features_captured_from_a_fold_are_complete_when_all_of_it_was_seen():
    class Needs(ScoreSelector):
        needs_features = True

        @property
        def ready(self) -> bool:
            return hasattr(self, "fitted")

        def fit(self, features: Any) -> None:
            self.fitted = features

        def scores(self, progress: float) -> Tensor:
            return self.fitted[:, 0].float()

    selection = controller(Needs(), 0.5)
    loader = selection.wrap(DataLoader(DATA, 10, sampler=SubsetRandomSampler(FOLD)))
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        for step, (x, _, _) in enumerate(loader):
            selection.observe(step, features=x)
    top = FEATURES[sorted(FOLD), 0].half().topk(50).indices
    assert sorted(flat([i.tolist() for _, i, _ in loader])) == sorted(torch.tensor(sorted(FOLD))[top].tolist())


def test_another_fold_starts_afresh():
    selection = controller()
    train(selection, selection.wrap(DataLoader(DATA, 8, sampler=SubsetRandomSampler(FOLD))), 2)
    state = selection.state_dict()
    other = DataLoader(DATA, 8, sampler=SubsetRandomSampler([i for i in range(N) if i not in FOLD]))
    selection.wrap(other)
    assert selection.epoch == -1
    again = controller()
    kept = again.wrap(other)
    assert len(kept) == 13
    with pytest.raises(ValueError, match="the state is of a sampler that yields other indices"):
        again.load_state_dict(state)


def test_an_index_outside_the_data_set_is_refused():
    with pytest.raises(ValueError, match=r"index outside the data set, 0 \.\. 199"):
        controller().wrap(DataLoader(DATA, 8, sampler=SubsetRandomSampler([3, 200])))
    with pytest.raises(ValueError, match="the loader's sampler has no index to yield"):
        controller().wrap(DataLoader(DATA, 8, sampler=[]))


# ---------------------------------------------------------------- another draw each epoch
@pytest.mark.parametrize("selector", ["random", "hybrid", "rcap", "loss", "epsilon-greedy"])
def test_the_shares_that_a_sampler_draws_stay(selector):
    """The rare class, drawn to a half of every epoch, is half of every selection, to the sample."""
    weights = torch.where(RARE == 1, 9.0, 1.0)
    sampler = WeightedRandomSampler(weights, N, generator=torch.Generator().manual_seed(2))
    selection = controller(SELECTORS[selector](), labels=torch.arange(N) % 3)
    loader = selection.wrap(DataLoader(DATA, 16, sampler=sampler))
    drawn = list(WeightedRandomSampler(weights, 8 * N, generator=torch.Generator().manual_seed(2)))
    for epoch, batches in enumerate(train(selection, loader)):
        seen = flat(batches)
        before = RARE[torch.tensor(drawn[epoch * N : (epoch + 1) * N])].sum()
        assert len(seen) == 100
        assert abs(int(RARE[torch.tensor(seen)].sum()) - before / 2) <= 0.5


def test_a_sampler_of_classes_keeps_their_shares():
    samplers = pytest.importorskip("pytorch_metric_learning.samplers")
    sampler = samplers.MPerClassSampler(RARE.tolist(), m=4, length_before_new_iter=160)
    selection = controller(labels=RARE)
    for batches in train(selection, selection.wrap(DataLoader(DATA, 8, sampler=sampler))):
        seen = flat(batches)
        assert (len(seen), int(RARE[torch.tensor(seen)].sum())) == (80, 40)


@pytest.mark.parametrize("selector", ["random", "hybrid", "infobatch"])
def test_fewer_samples_than_there_are(selector):
    sampler = RandomSampler(DATA, num_samples=60, generator=torch.Generator().manual_seed(4))
    same = RandomSampler(DATA, num_samples=60, generator=torch.Generator().manual_seed(4))
    selection = controller(SELECTORS[selector]())
    loader = selection.wrap(DataLoader(DATA, 8, sampler=sampler))
    seen = [flat(batches) for batches in train(selection, loader)]
    drawn = [list(same) for _ in range(8)]
    if selector == "infobatch":
        assert all(len(epoch) <= 60 for epoch in seen)
    else:
        assert [len(epoch) for epoch in seen] == [30] * 8
    for epoch, order in zip(seen, drawn, strict=True):
        # In the order drawn.
        assert epoch == [i for i in order if i in set(epoch)]


def test_weights_of_a_selection_reach_what_was_drawn():
    selection = controller("infobatch")
    loader = selection.wrap(DataLoader(DATA, 8, sampler=WeightedRandomSampler(torch.ones(N), N)))
    train(selection, loader, 2)
    loader.sampler.set_epoch(2)
    found = [(selection.indices(step), selection.weights(step)) for step, _ in enumerate(loader)]
    weights = torch.cat([w for _, w in found])
    assert set(weights.tolist()) == {1.0, 2.0}
    easy = FEATURES[:, 0].exp()
    heavy = torch.cat([i for i, _ in found])[weights == 2]
    known = selection.selector.average
    assert bool((easy[heavy] < known[~known.isnan()].mean()).all())


class Endless(Sampler[int]):
    def __init__(self) -> None:
        self.yielded = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.yielded += 1
            yield self.yielded % N


def test_a_sampler_without_an_end_is_refused_before_it_fills_memory():
    sampler = Endless()
    selection = controller()
    loader = selection.wrap(DataLoader(DATA, 8, sampler=sampler))
    with pytest.raises(ValueError, match="Endless yielded more than 2,000 indices of a data set of 200 and didn't end"):
        loader.sampler.set_epoch(0)
    assert sampler.yielded <= 2001


@pytest.mark.parametrize("index", ["a", None, -1, 200])
def test_a_sampler_of_something_else_is_refused(index):
    class Odd(Sampler[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([0, index])

    selection = controller()
    loader = selection.wrap(DataLoader(DATA, 8, sampler=Odd()))
    with pytest.raises((TypeError, ValueError), match="Odd yield"):
        loader.sampler.set_epoch(0)


# ---------------------------------------------------------------- batches of the user's own
class Buckets(Sampler[list[int]]):
    """Shuffled batches of neighbours, the last one smaller."""

    def __init__(self, size: int = 16, seed: int = 0) -> None:
        self.size, self.generator = size, torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[list[int]]:
        starts = range(0, N, self.size)
        yield from (list(range(starts[i], min(starts[i] + self.size, N))) for i in self._shuffled(len(starts)))

    def _shuffled(self, count: int) -> list[int]:
        return torch.randperm(count, generator=self.generator).tolist()

    def __len__(self) -> int:
        return -(-N // self.size)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_a_batch_sampler_stay_together_and_get_smaller(workers):
    selection = controller()
    loader = selection.wrap(DataLoader(DATA, batch_sampler=Buckets(), num_workers=workers))
    for batches in train_by_batches(selection, loader):
        assert len(flat(batches)) == 100
        assert len(batches) <= 13
        for batch in batches:
            assert len({i // 16 for i in batch}) == 1
            assert batch == sorted(batch)
    assert selection.books.samples_trained == 800


def train_by_batches(selection: SelectionController, loader: Any, epochs: int = 8) -> list[list[list[int]]]:
    seen = []
    for epoch in range(epochs):
        selection.set_epoch(epoch)
        batches = []
        for step, (_, i, _) in enumerate(loader, selection.sampler.first_batch):
            assert selection.indices(step).tolist() == i.tolist()
            batches.append(i.tolist())
        assert len(batches) == selection.sampler.num_batches() - selection.sampler.first_batch
        seen.append(batches)
    selection.finish_epoch()
    return seen


def test_at_keep_ratio_1_own_batches_are_those_without_selection():
    loader = DataLoader(DATA, batch_sampler=Buckets())
    plain = [[i.tolist() for _, i, _ in loader] for _ in range(3)]
    selection = controller("full", 1.0)
    assert train_by_batches(selection, selection.wrap(DataLoader(DATA, batch_sampler=Buckets())), 3) == plain


def test_a_list_of_batches():
    selection = controller()
    loader = selection.wrap(DataLoader(DATA, batch_sampler=[[0, 1, 2, 3], [9, 8, 7], [5]]))
    for batches in train_by_batches(selection, loader):
        assert len(flat(batches)) == 4
        for batch in batches:
            assert any(set(batch) <= set(own) for own in ([0, 1, 2, 3], [9, 8, 7], [5]))


@pytest.mark.parametrize("step", range(1, 12))
def test_own_batches_resume_exactly(step):
    whole = controller()
    loader = whole.wrap(DataLoader(DATA, batch_sampler=Buckets()))
    whole.set_epoch(0)
    seen, state = [], None
    for number, (_, i, _) in enumerate(loader, 1):
        seen.append(i.tolist())
        if number == step:
            state = whole.state_dict()
    again = controller()
    rest = again.wrap(DataLoader(DATA, batch_sampler=Buckets()))
    again.load_state_dict(state)
    assert train_by_batches(again, rest, 1) == [seen[step:]]
    whole.finish_epoch()
    assert again.selector.usage.tolist() == whole.selector.usage.tolist()


class Shuffled(BatchSampler):
    """One that leaves the cutting to torch."""


def test_a_subclass_that_cuts_as_torch_does_is_refilled():
    sampler = Shuffled(RandomSampler(DATA), 16, drop_last=False)
    selection = controller()
    loader = selection.wrap(DataLoader(DATA, batch_sampler=sampler))
    assert [[len(batch) for batch in batches] for batches in train_by_batches(selection, loader)] == [
        [16] * 6 + [4]
    ] * 8


class Rows(Dataset[Any]):
    """Takes several indices at once."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        return DATA[rows]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sampler_of_lists_without_a_batch_size(workers):
    sampler = BatchSampler(RandomSampler(DATA), 16, drop_last=False)
    selection = controller()
    plain = DataLoader(Rows(), sampler=sampler, batch_size=None, num_workers=workers)
    loader = selection.wrap(plain)
    seen = train(selection, loader)
    assert [[len(batch) for batch in batches] for batches in seen] == [[16] * 6 + [4]] * 8
    assert set(selection.selector.usage.tolist()) == {4}
    loader.sampler.set_epoch(8)
    assert (len(loader), len(plain)) == (7, 13)


def test_what_chooses_inside_batches_needs_batches_of_its_own_making():
    for name in ("random-in-batch", "selective-backprop"):
        with pytest.raises(ValueError, match=r"own batch sampler \(Buckets\): give the loader `batch_size=`"):
            controller(SELECTORS[name]()).wrap(DataLoader(DATA, batch_sampler=Buckets()))


def test_own_batches_cannot_be_shared_out():
    with pytest.raises(TypeError, match=r"own batch sampler \(Buckets\) can't be shared out so that every rank gets"):
        controller().wrap(DataLoader(DATA, batch_sampler=Buckets()), num_replicas=2, rank=0)


def test_a_schedule_of_sizes_is_that_of_the_sampler():
    sampler = RandomSampler(DATA, num_samples=40)
    selection = SelectionController(Listening(), Sizes((12, 40, 20, 8)), max_epochs=4, seed=0)
    loader = selection.wrap(DataLoader(DATA, 4, sampler=sampler))
    assert selection.total_steps(4) == 3 + 10 + 5 + 2
    assert len(loader) == 10
    assert [len(flat(batches)) for batches in train(selection, loader, 4)] == [12, 40, 20, 8]
    assert [record.keep_ratio for record in selection.history] == [0.3, 1.0, 0.5, 0.2]


# ---------------------------------------------------------------- torchdata's loader
@pytest.mark.parametrize("options", [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}])
def test_a_stateful_loader_is_selected_from_and_resumes_by_the_selections_own_state(options):
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def fed(selection: SelectionController) -> Any:
        return selection.wrap(loaders.StatefulDataLoader(DATA, batch_size=8, shuffle=True, **options))

    whole = controller()
    loader = fed(whole)
    assert [[len(batch) for batch in batches] for batches in train(whole, loader, 2)] == [[8] * 12 + [4]] * 2
    assert set(whole.selector.usage.tolist()) == {1}
    loader.sampler.set_epoch(2)
    seen, state = [], None
    for step, (_, i, _) in enumerate(loader):
        seen.append(i.tolist())
        if step == 4:
            state = whole.state_dict()
    again = controller()
    rest = fed(again)
    again.load_state_dict(state)
    rest.sampler.set_epoch(2)
    assert [i.tolist() for _, i, _ in rest] == seen[5:]
