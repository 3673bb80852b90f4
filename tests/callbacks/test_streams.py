"""Streams: data sets without indices, of which parts of batches are trained on, and those that can be read by index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import Indexed, Module, fit
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.samplers import IndexedView
from dynsel.selectors import JEST, Random, SelectiveBackprop

N = 40


def per_sample(module: Any, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1], reduction="none")


class Stream(IterableDataset[Any]):
    """Shares its samples out among workers. The fourth entry is a reference loss: even samples are easy to it."""

    def __iter__(self) -> Iterator[Any]:
        data, info = Indexed(N), get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for i in range(first, N, step):
            yield (*data[i], 0.0 if i % 2 == 0 else 100.0)


class Takes(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch[:3], batch_idx)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("selector", [None, "selective-backprop", SelectiveBackprop(beta=None)])
def test_part_of_each_batch_of_a_stream_is_trained_on(workers, selector):
    fraction = BatchFraction(0.5, per_sample, selector=selector)
    module, _ = fit(
        fraction, module=Takes(), loader=DataLoader(Stream(), 8, num_workers=workers), max_epochs=2, val=False
    )
    for batches in module.seen.values():
        # Two workers have 20 samples each.
        assert [len(batch) for batch in batches] == ([4] * 4 + [2] * 2 if workers == 2 else [4] * 5)
        assert len({i for batch in batches for i in batch}) == 20


@pytest.mark.parametrize("reference", [3, lambda batch: batch[3]])
def test_reference_losses_come_with_the_batch(reference):
    fraction = BatchFraction(0.5, per_sample, selector=JEST(temperature=0), reference=reference)
    module, _ = fit(fraction, module=Takes(), loader=DataLoader(Stream(), 8), max_epochs=1, val=False)
    # Those that the reference finds easy, by far.
    assert sorted(i for batch in module.seen[0] for i in batch) == list(range(0, N, 2))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("selector", "reference"), [(JEST, 3), (SelectiveBackprop, None)])
def test_losses_that_are_not_finite_are_never_trained_on(selector, reference, temperature):
    """As few as leave enough don't stay, more are an error, whichever way the scores are made."""

    def score(module: Any, batch: Any) -> Tensor:
        bad = (batch[2] < few).nonzero()[:, 0]
        return per_sample(module, batch).index_fill(0, bad, torch.nan)

    def train() -> Any:
        chooser = JEST(temperature=temperature) if selector is JEST else SelectiveBackprop(beta=temperature or None)
        fraction = BatchFraction(0.5, score, selector=chooser, reference=reference)
        return fit(fraction, module=Takes(), loader=DataLoader(Stream(), 8), max_epochs=1, val=False)[0]

    few = 4
    assert all(i >= few for batch in train().seen[0] for i in batch)
    few = 5
    with pytest.raises(ValueError, match="only 3 of 8 candidates have a finite loss and 4 are to be kept: training ha"):
        train()


def test_draws_are_the_runs_own():
    seen = []
    for seed in (1, 1, 2):
        fraction = BatchFraction(0.5, lambda module, batch: torch.ones(len(batch[0])), selector=SelectiveBackprop())
        module, _ = fit(fraction, module=Takes(), loader=DataLoader(Stream(), 8), max_epochs=2, val=False, seed=seed)
        seen.append(dict(module.seen))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert seen[0][0] != seen[0][1]


def test_what_does_not_choose_by_losses_is_refused():
    with pytest.raises(TypeError, match=r"`selector` must choose by the losses of a batch's samples.*got Random"):
        BatchFraction(0.5, selector=Random())
    for options in ({"selector": JEST()}, {"reference": 3}, {"selector": SelectiveBackprop(), "reference": 3}):
        with pytest.raises(ValueError, match="reference losses that JEST subtracts: give both or neither"):
            BatchFraction(0.5, **options)


def test_reference_losses_that_are_none_are_refused():
    fraction = BatchFraction(0.5, per_sample, selector=JEST(), reference="loss")
    with pytest.raises(ValueError, match="`reference='loss'` finds nothing in a batch of type list"):
        fit(fraction, module=Takes(), loader=DataLoader(Stream(), 8), max_epochs=1, val=False)


# ---------------------------------------------------------------- streams that can be read by index
class Shards(Stream):
    """As mosaicml-streaming and litdata have them: iterated, but with a length and random access."""

    def __init__(self) -> None:
        self.data = Indexed(N)
        self.targets = self.data.targets

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return self.data[i]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_with_random_access_is_selected_from_by_index(workers):
    callback = DynamicSelection("random", 0.5)
    loader = DataLoader(IndexedView(Shards()), 4, shuffle=True, num_workers=workers)
    module, _ = fit(callback, loader=loader, max_epochs=2)
    assert [len({i for batch in batches for i in batch}) for batches in module.seen.values()] == [20, 20]
    assert set(callback.selector.usage.tolist()) == {1}
    # Its labels are seen through the view.
    assert callback.history[0].class_balance > 0


@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        (Stream, r"select inside its batches: `BatchFraction\(keep_ratio, selector=...\)`"),
        (Shards, r"it can be read by index, so that `IndexedView\(dataset\)` of dynsel.samplers makes one of it"),
    ],
)
def test_a_stream_that_is_selected_from_by_index_is_refused_with_the_way_out(make, way_out):
    with pytest.raises(TypeError, match=f"got {make.__name__}; .*{way_out}"):
        fit(DynamicSelection("random", 0.5), module=Takes(), loader=DataLoader(make(), 4))
