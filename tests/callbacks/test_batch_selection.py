"""Selection inside the batch under Lightning: what is trained on, what is scored, resume, bad input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning_utilities.core.inheritance import get_all_subclasses
from support import BATCH, Indexed, Module, N, SaveEvery, Sizes, fit, same_weights, train_loader
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.schedules import Linear
from dynsel.selectors import GSTDS, JEST, Proxy, RandomInBatch, SelectiveBackprop

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


@pytest.fixture(autouse=True)
def _unpatched() -> Iterator[None]:
    """Lightning leaves its patches on the loaders' classes where an error comes up while it asks for one."""
    classes = [cls for base in (DataLoader, BatchSampler) for cls in (base, *get_all_subclasses(base))]
    names = [f"__{old}{name}__" for name in ("init", "setattr", "delattr") for old in ("", "old__")]
    before = [(cls, {name: vars(cls).get(name) for name in names}) for cls in classes]
    yield
    for cls, methods in before:
        for name, method in methods.items():
            if method is not None:
                setattr(cls, name, method)
            elif name in vars(cls):
                delattr(cls, name)


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
    module, _ = fit(selection(name), loader=DataLoader(data, BATCH, shuffle=True), max_epochs=2)
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

    selector = (
        SelectiveBackprop(beta=None) if name == "selective-backprop" else JEST(reference=FEATURES[:, 0], temperature=0)
    )
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
@pytest.mark.parametrize(("name", "shrink"), [*((n, False) for n in METHODS), ("gstds", True), ("jest", True)])
def test_every_step(tmp_path, name, shrink):
    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> tuple[Module, DynamicSelection]:
        chosen = selection(name, Sizes((20, 10, 40)), shrink=shrink)
        module, _ = fit(chosen, *callbacks, module=Module(noise=True), max_epochs=3, ckpt_path=ckpt_path, seed=seed)
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
def test_with_captured_features_and_workers(tmp_path, name):
    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> Module:
        chosen = selection(name, Sizes((40, 20, 20)), features="model")
        options = {"loader": train_loader(num_workers=2, persistent_workers=True), "max_epochs": 3}
        return fit(chosen, *callbacks, module=Module(noise=True), ckpt_path=ckpt_path, seed=seed, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    assert [path.name for path in saver.paths[::6] if not same_weights(whole, run(ckpt_path=path, seed=2))] == []


# ---------------------------------------------------------------- bad input
@every_method
def test_candidates_larger_than_the_data_set(name):
    text = r"batches of 4 / 0.05 = 80 candidates are larger than the data set of 40 samples; lower `batch_size`"
    with pytest.raises(ValueError, match=text):
        fit(selection(name, Linear(1.0, 0.05)))
    fit(selection(name, 0.5, shrink=True), max_epochs=1, loader=train_loader(batch_size=40))


def test_reference_features_missing():
    with pytest.raises(FileNotFoundError, match=r"there is no feature file /nowhere.npy"):
        fit(selection("gstds", features="/nowhere.npy"))
    with pytest.raises(ValueError, match=r"`features` must be finite, got NaN or infinite values in row 3"):
        fit(selection("gstds", features=FEATURES.index_fill(0, torch.tensor([3]), torch.nan)))


def test_a_schedule_that_reaches_zero():
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\], got 0.0 at progress 0.2"):
        DynamicSelection(GSTDS(), Linear(1.0, 0.0, finish=0.2))


@pytest.mark.parametrize("name", LOADED)
def test_nan_losses_in_the_scoring_pass(name):
    """A few don't stay; too many are an error that says where."""

    def score(module: Any, batch: Any) -> Tensor:
        return losses(module, batch).index_fill(0, torch.tensor(bad), torch.nan)

    for bad in ([0, 5], [0, 1, 2, 3, 4]):
        chosen = DynamicSelection(METHODS[name](), 0.5, per_sample_loss=score)
        if len(bad) < 5:
            fit(chosen, max_epochs=1)
            continue
        text = "epoch 0, batch 0: only 3 of 8 candidates have a finite loss and 4 are to be kept: training has diverged"
        with pytest.raises(ValueError, match=text):
            fit(chosen, max_epochs=1)


def test_identical_features():
    module, _ = fit(selection("gstds", features=torch.ones(N, 3)), loader=train_loader(shuffle=False), max_epochs=1)
    # By position: of every eight candidates the upper end takes the first two, the lower one the next.
    assert module.seen[0] == [[8 * j, 8 * j + 1, 8 * j + 2, 8 * j + 3] for j in range(5)]


@pytest.mark.parametrize("name", LOADED)
def test_scoring_needs_a_classifier_or_a_function(name):
    with pytest.raises(TypeError, match=r"integer targets\), got a batch of type list of 3; pass `score=` \(`per_sam"):
        fit(DynamicSelection(METHODS[name](), 0.5), max_epochs=1)


@every_method
def test_one_choice_inside_the_batch_only(name):
    with pytest.raises(ValueError, match="chooses inside the batch already; leave BatchFraction out"):
        fit(selection(name), BatchFraction(0.5), max_epochs=1)


@pytest.mark.parametrize("name", LOADED)
def test_a_step_that_fetches_by_itself(name):
    class Fetching(Module):
        def training_step(self, dataloader_iter: Any) -> Any:
            raise AssertionError

    text = rf"`training_step\(dataloader_iter\)` fetches its batches itself, out of {type(METHODS[name]()).__name__}'s"
    with pytest.raises(TypeError, match=text):
        fit(selection(name), module=Fetching(), max_epochs=1)


def test_a_proxy_that_nobody_describes():
    with pytest.raises(ValueError, match=r"Proxy needs a small network: .* \(it has none\), or a class"):
        fit(DynamicSelection("proxy", 0.5), max_epochs=1)


@every_method
def test_everything_is_put_back(name):
    chosen = selection(name)
    _, trainer = fit(chosen, max_epochs=1)
    assert "batch_to_device" not in vars(trainer.strategy)
