"""A controller copied or pickled: before, in and after a training, and going on from there."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import Sizes, train_loader

from dynsel.samplers import PlainDriver, SelectionController
from dynsel.selectors import GSTDS, SELECTORS, Hybrid, Proxy

COPIES: dict[str, Callable[[Any], Any]] = {
    "copied": copy.deepcopy,
    "pickled": lambda controller: pickle.loads(pickle.dumps(controller)),
}


def controller(selector: Any = None) -> SelectionController:
    return SelectionController(selector or Hybrid(), Sizes((20, 12, 28, 40)), max_epochs=4, seed=0)


def epoch_of(selection: SelectionController, loader: Any, epoch: int, stop: int | None = None) -> list[list[int]]:
    """Train an epoch, or its first batches; what was seen."""
    loader.sampler.set_epoch(epoch)
    seen = []
    for step, (_, _, i) in enumerate(loader, loader.sampler.first_batch):
        seen.append(i.tolist())
        selection.observe(step, per_sample_loss=10.0 * i)
        if step + 1 == stop:
            break
    return seen


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_controller_of_any_selector_can_be_copied(kind, name):
    first = controller(SELECTORS[name]())
    second = COPIES[kind](first)
    assert type(second.selector) is type(first.selector)
    assert second.selector is not first.selector
    assert second.sources.selector is second.chooser.selector is second.selector
    assert second.sources.books is second.chooser.books is second.books


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("stop", [None, 2])
def test_a_copy_goes_on_from_where_it_was_taken(kind, stop):
    """Within an epoch and after one; the original and its copy then train on the same samples, each by itself."""
    first = controller()
    loader = first.wrap(train_loader(generator=torch.Generator().manual_seed(5)))
    epoch_of(first, loader, 0)
    before = epoch_of(first, loader, 1, stop)
    second = COPIES[kind](first)
    assert second.sampler is not first.sampler
    assert second.feedback.sampler is second.sampler
    assert second.indices(0).tolist() == first.indices(0).tolist() == before[0]
    usage = first.selector.usage.clone()
    again = second.wrap(train_loader(generator=torch.Generator()))
    if stop:
        rest = epoch_of(second, again, 1)
        assert len(rest) == 3 - stop
        assert not {i for batch in rest for i in batch} & {i for batch in before for i in batch}
    assert [len(epoch_of(second, again, epoch)) for epoch in (2, 3)] == [7, 10]
    assert torch.equal(first.selector.usage, usage)
    second.finish_epoch()
    assert int(second.selector.usage.sum()) == 20 + 12 + 28 + 40
    assert [record.epoch for record in second.history] == [0, 1, 2, 3]
    assert [record.epoch for record in first.history] == [0]


def test_a_copy_holds_no_data():
    first = controller("random")
    loader = first.wrap(train_loader())
    epoch_of(first, loader, 0)
    whole, small = pickle.dumps(loader.dataset), pickle.dumps(first)
    assert b"Indexed" in whole
    assert b"Indexed" not in small
    second = pickle.loads(small)
    assert (second.sampler.num_total, len(second.sampler.dataset)) == (40, 40)
    with pytest.raises(RuntimeError, match=r"a copy of a selection has no data to feed from: call `wrap\(loader\)`"):
        second.ensure_epoch(1), second.sampler.draw()


@pytest.mark.parametrize("selector", [GSTDS(), Proxy(model="support.Module"), Hybrid()])
def test_a_finished_training_keeps_its_books_in_a_copy(selector):
    def loss(module: Any, batch: Any) -> torch.Tensor:
        return module(batch[0]).logsumexp(1)

    first = SelectionController(selector, 0.5, features=torch.randn(40, 3), max_epochs=1, seed=0)
    driver = PlainDriver(1)
    driver.per_sample_loss = loss
    first.attach(driver)
    loader = first.wrap(train_loader())
    epoch_of(first, loader, 0)
    first.finish_epoch()
    second = pickle.loads(pickle.dumps(first))
    assert repr(second.history) == repr(first.history)
    assert second.history is second.books.history
    assert torch.equal(second.selector.usage, first.selector.usage)
