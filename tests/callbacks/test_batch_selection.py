"""Selection inside the batch under Lightning: what is trained on, what is scored, resume, bad input."""

from __future__ import annotations

from collections import Counter
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from support import BATCH, N, Indexed, Module, SaveEvery, Sizes, fit, same_weights, train_loader
from torch import Tensor

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.schedules import Constant, Linear
from dynsel.selectors import GSTDS, JEST, BatchSelector, Proxy, RandomInBatch, SelectiveBackprop, Selector

FEATURES = torch.randn(N, 6, generator=torch.Generator().manual_seed(3))
METHODS = {
    "gstds": lambda **options: GSTDS(**options),
    "random-in-batch": lambda **options: RandomInBatch(**options),
    "selective-backprop": lambda **options: SelectiveBackprop(**options),
    "jest": lambda **options: JEST(reference=FEATURES[:, 0].abs(), **options),
    "proxy": lambda **options: Proxy(model="support.Module", arguments={"dropout": 0.2}, **options),
}
every_method = pytest.mark.parametrize("name", list(METHODS))
LOADED = ("selective-backprop", "jest")


def losses(module: Any, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1], reduction="none")


def selection(name: str, keep_ratio: Any = 0.5, *, features: Any = FEATURES, **options: Any) -> DynamicSelection:
    return DynamicSelection(
        METHODS[name](**options), keep_ratio, features=features, per_sample_loss=losses, count_flops=True
    )


# ---------------------------------------------------------------- what is trained on
@every_method
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_their_size(name, workers):
    chosen = selection(name)
    module, trainer = fit(chosen, loader=train_loader(num_workers=workers), max_epochs=3)
    assert [[len(batch) for batch in module.seen[e]] for e in range(3)] == [[BATCH] * 5] * 3
    assert trainer.global_step == module.estimate == 15
    used = Counter(i for epoch in module.seen.values() for batch in epoch for i in batch)
    assert chosen.selector.usage.tolist() == [used[i] for i in range(N)]
    assert chosen.history[-1].samples_trained == 3 * 20
    assert all(len({i for batch in epoch for i in batch}) == 20 for epoch in module.seen.values())


@every_method
def test_smaller_batches_and_as_many_steps(name):
    chosen = selection(name, shrink=True)
    module, trainer = fit(chosen, max_epochs=2)
    assert [[len(batch) for batch in module.seen[e]] for e in range(2)] == [[BATCH // 2] * 10] * 2
    assert trainer.global_step == module.estimate == 20


@every_method
def test_changing_ratio(name):
    """Sizes of 40, 20 and 10 of 40: candidates of 4, 8 and 16."""
    module, trainer = fit(selection(name, Sizes((40, 20, 10))), max_epochs=3)
    wanted = [[4] * 10, [4] * 5, [4, 4, 2]]
    assert [[len(batch) for batch in module.seen[e]] for e in range(3)] == wanted
    assert trainer.global_step == module.estimate == 18


class Spy(Indexed):
    """Notes which samples are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    def __getitem__(self, i: int) -> Any:
        self.read.append(i)
        return super().__getitem__(i)


@pytest.mark.parametrize("name", ["gstds", "random-in-batch"])
def test_what_is_dropped_is_never_read(name):
    data = Spy()
    module, _ = fit(selection(name), loader=torch.utils.data.DataLoader(data, BATCH, shuffle=True), max_epochs=2)
    assert data.read == [i for e in range(2) for batch in module.seen[e] for i in batch]


@pytest.mark.parametrize("name", ["gstds", "random-in-batch"])
def test_what_stays_keeps_its_order(name):
    """At keep ratio 1.0 the order is bitwise that of no selection; below it is a part of the epoch's order."""
    plain, _ = fit(max_epochs=2)
    whole, _ = fit(selection(name, 1.0), max_epochs=2)
    assert whole.seen == plain.seen
    assert same_weights(whole, plain)
    loader = train_loader(shuffle=False)
    module, _ = fit(selection(name), loader=loader, max_epochs=1)
    kept = [i for batch in module.seen[0] for i in batch]
    assert kept == sorted(kept)
    # Of each eight candidates four stay.
    assert [sum(8 * j <= i < 8 * (j + 1) for i in kept) for j in range(5)] == [4] * 5


@pytest.mark.parametrize("name", LOADED)
def test_the_model_at_hand_decides(name):
    """The highest score of each batch of candidates, as a forward pass in eval mode tells."""
    told: list[tuple[list[int], Tensor]] = []

    def score(module: Any, batch: Any) -> Tensor:
        assert not module.training
        assert not torch.is_grad_enabled()
        told.append((batch[2].tolist(), losses(module, batch)))
        return told[-1][1]

    selector = SelectiveBackprop() if name == "selective-backprop" else JEST(reference=FEATURES[:, 0], temperature=0)
    chosen = DynamicSelection(selector, 0.5, per_sample_loss=score)
    module, _ = fit(chosen, max_epochs=2)
    batches = [batch for e in range(2) for batch in module.seen[e]]
    assert len(told) == len(batches) == 10
    for (rows, values), batch in zip(told, batches, strict=True):
        values = values if name == "selective-backprop" else values - FEATURES[rows, 0]
        assert sorted(batch) == sorted(rows[i] for i in values.topk(4).indices)


# ---------------------------------------------------------------- accounting
@every_method
def test_the_books(name):
    chosen = selection(name)
    fit(chosen, max_epochs=2)
    last = chosen.history[-1]
    assert last.samples_scored == (0 if name in ("gstds", "random-in-batch") else 80)
    # Layers of 4 x 8 and 8 x 2: 96 operations forward; backward both gradients, but not that of the input.
    forward, step = 96, 96 + 96 + 32
    training, scoring = 40 * step, last.samples_scored * forward
    own = scoring + 40 * step if name == "proxy" else scoring
    assert (last.flops, last.selection_flops) == (training + own, own)
    assert last.selection_seconds > 0


def test_operations_are_counted_on_request_only():
    chosen = DynamicSelection("random", 0.5)
    fit(chosen, max_epochs=1)
    assert chosen.history[-1].flops != chosen.history[-1].flops


def test_counting_changes_nothing():
    runs = [fit(DynamicSelection("random", 0.5, count_flops=flag), max_epochs=2)[0] for flag in (False, True)]
    assert same_weights(*runs)


# ---------------------------------------------------------------- resume
@every_method
@pytest.mark.parametrize("shrink", [False, True])
def test_34_every_step(tmp_path, name, shrink):
    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> tuple[Module, DynamicSelection]:
        chosen = selection(name, Sizes((20, 10, 40)), shrink=shrink)
        module, _ = fit(
            chosen, *callbacks, module=Module(noise=True), max_epochs=3, ckpt_path=ckpt_path, seed=seed
        )
        return module, chosen

    saver = SaveEvery(tmp_path)
    whole, books = run(saver)
    different = []
    for path in saver.paths:
        resumed, theirs = run(ckpt_path=path, seed=2)
        last = theirs.history[-1]
        same = (last.samples_scored, last.flops) == (books.history[-1].samples_scored, books.history[-1].flops)
        if not same or not same_weights(whole, resumed) or not torch.equal(theirs.selector.usage, books.selector.usage):
            different.append(path.name)
    assert len(saver.paths) >= 15
    assert different == []


@pytest.mark.parametrize("name", ["gstds", "jest"])
def test_34_with_captured_features_and_workers(tmp_path, name):
    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> Module:
        chosen = selection(name, Sizes((40, 20, 20)), features="model")
        options = {"loader": train_loader(num_workers=2, persistent_workers=True), "max_epochs": 3}
        return fit(chosen, *callbacks, module=Module(noise=True), ckpt_path=ckpt_path, seed=seed, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    assert [path.name for path in saver.paths[::6] if not same_weights(whole, run(ckpt_path=path, seed=2))] == []
