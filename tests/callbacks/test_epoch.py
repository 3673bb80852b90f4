"""What one epoch is. It trains on the selection, all of it, and everybody knows how long it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, TQDMProgressBar
from programs.ranks import launch
from support import (
    BATCHES,
    SIZES,
    Fixed,
    Indexed,
    Listening,
    Module,
    N,
    Sizes,
    fit,
    noisy,
    same_weights,
    selection,
    train_loader,
)
from torch.overrides import _get_current_function_mode_stack
from torch.utils.data import DataLoader, Sampler, WeightedRandomSampler

from dynsel.callbacks import DynamicSelection

WORKERS = [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]


def draws(sizes: tuple[int, ...] = SIZES) -> list[list[int]]:
    """A different random list of indices for each epoch."""
    return [
        torch.randperm(N, generator=torch.Generator().manual_seed(10 + e))[:size].tolist()
        for e, size in enumerate(sizes)
    ]


def flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


class NoEstimate(Module):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class Lengths(pl.Callback):
    """What a callback that comes before the plugin is told about each epoch."""

    def __init__(self) -> None:
        self.at_start: list[int] = []
        self.is_last: list[list[bool]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at_start.append(int(trainer.num_training_batches))
        self.is_last.append([])

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.is_last[-1].append(trainer.is_last_batch)


def last_once(batches: list[int]) -> list[list[bool]]:
    return [[False] * (n - 1) + [True] for n in batches]


# ---------------------------------------------------------------- which samples, and how many batches
@pytest.mark.parametrize("module", [Module, NoEstimate])
@pytest.mark.parametrize("options", WORKERS)
def test_exactly_the_selected_samples(module, options):
    chosen = draws()
    seen = fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), module=module(), loader=train_loader(**options))[
        0
    ].seen
    assert {e: Counter(flat(batches)) for e, batches in seen.items()} == {e: Counter(c) for e, c in enumerate(chosen)}


@pytest.mark.parametrize("options", WORKERS[:2])
def test_a_callback_listed_first_sees_the_true_length(options):
    lengths = Lengths()
    module, _ = fit(lengths, selection(), loader=train_loader(**options))
    assert module.batches() == BATCHES
    assert lengths.at_start == BATCHES
    assert lengths.is_last == last_once(BATCHES)


def test_also_with_a_short_last_batch():
    lengths = Lengths()
    module, _ = fit(lengths, selection((13, 39, 18, 5)))
    assert [[len(batch) for batch in module.seen[e]] for e in range(4)] == [
        [4, 4, 4, 1],
        [4] * 9 + [3],
        [4, 4, 4, 4, 2],
        [4, 1],
    ]
    assert lengths.at_start == module.batches()
    assert lengths.is_last == last_once(module.batches())


class TQDMTotals(TQDMProgressBar):
    def __init__(self) -> None:
        super().__init__()
        self.totals: list[set[Any]] = []

    def on_train_epoch_start(self, *args: Any) -> None:
        super().on_train_epoch_start(*args)
        self.totals.append({self.train_progress_bar.total})

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.totals[-1].add(self.train_progress_bar.total)


def test_progress_bar_listed_first_shows_the_true_totals():
    bar = TQDMTotals()
    fit(bar, selection(), enable_progress_bar=True)
    assert bar.totals == [{n} for n in BATCHES]


class Steps(pl.Callback):
    """Optimizer steps of each epoch."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, *args: Any) -> None:
        self.steps[trainer.current_epoch] += 1


def test_the_rest_of_an_accumulation_window_is_stepped():
    steps = Steps()
    _, t = fit(selection(), steps, accumulate_grad_batches=2)
    assert [steps.steps[e] for e in range(4)] == [2, 5, 3, 1]
    assert t.global_step == 11


def test_accumulation_scheduler():
    steps = Steps()
    fit(GradientAccumulationScheduler({0: 1, 1: 4}), selection(), steps)
    assert [steps.steps[e] for e in range(4)] == [3, 3, 2, 1]


# ---------------------------------------------------------------- a keep ratio of 1
@pytest.mark.parametrize(
    ("selector", "options"),
    [
        ("full", {}),
        *[("random", options) for options in WORKERS],
        ("random", {"drop_last": True, "batch_size": 7}),
        ("random", {"shuffle": False}),
    ],
)
def test_all_samples_is_plain_training(selector, options):
    plain, _ = fit(module=noisy(), loader=train_loader(**options), max_epochs=2)
    callback = DynamicSelection(selector, keep_ratio=1.0)
    ours, _ = fit(callback, module=noisy(), loader=train_loader(**options), max_epochs=2)
    assert dict(ours.seen) == dict(plain.seen)
    assert same_weights(ours, plain)


def test_all_samples_is_plain_training_on_two_ranks(tmp_path):
    for trained in launch("whole_checks", tmp_path, 2)[2]:
        assert trained["whole"] == trained["plain"]
        assert trained["plain"]["seen"]


# ---------------------------------------------------------------- too few samples
@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("options", WORKERS[:2])
def test_empty_selection_names_the_epoch(epoch, options):
    chosen = draws()
    chosen[epoch] = []
    module = Module()
    with pytest.raises(ValueError, match=f"epoch {epoch}: Fixed returned an empty selection"):
        fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), module=module, loader=train_loader(**options))
    assert module.batches() == BATCHES[:epoch]


def test_user_sampler_that_draws_none_of_the_selected():
    weights = torch.zeros(N)
    weights[:5] = 1
    loader = train_loader(shuffle=False, sampler=WeightedRandomSampler(weights, 8))
    with pytest.raises(ValueError, match="epoch 1: the sampler drew none of the selected samples"):
        fit(DynamicSelection(Fixed([0, 1, 2, 3, 4], [20, 30]), keep_ratio=0.5), loader=loader)


@pytest.mark.parametrize("options", WORKERS[:2])
def test_less_than_one_batch(options):
    lengths = Lengths()
    module, _ = fit(
        lengths,
        DynamicSelection(Fixed([7], [8, 3], [5]), keep_ratio=0.5),
        loader=train_loader(shuffle=False, **options),
        max_epochs=3,
    )
    assert dict(module.seen) == {0: [[7]], 1: [[3, 8]], 2: [[5]]}
    assert lengths.at_start == [1, 1, 1]
    assert lengths.is_last == [[True]] * 3


@pytest.mark.parametrize("epoch", [0, 1])
def test_less_than_one_batch_that_is_dropped(epoch):
    chosen = draws()
    chosen[epoch] = [1, 2, 3]
    module = Module()
    with pytest.raises(
        ValueError, match=rf"epoch {epoch}: 3 selected samples are less than one batch of 4 .*drop_last"
    ):
        fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), module=module, loader=train_loader(drop_last=True))
    assert module.batches() == BATCHES[:epoch]


# ---------------------------------------------------------------- samplers of the user's own, and no batches
class Recorded(WeightedRandomSampler):
    """Keeps what it drew."""

    def __init__(self) -> None:
        super().__init__(torch.linspace(0.1, 2, N), 60, generator=torch.Generator().manual_seed(3))
        self.drawn: list[list[int]] = []

    def __iter__(self) -> Any:
        self.drawn.append(list(super().__iter__()))
        return iter(self.drawn[-1])


@pytest.mark.parametrize("options", WORKERS)
def test_sampler_with_replacement(options):
    chosen, sampler, lengths = draws(), Recorded(), Lengths()
    loader = train_loader(shuffle=False, sampler=sampler, **options)
    module, _ = fit(lengths, DynamicSelection(Fixed(*chosen), keep_ratio=0.5), loader=loader)
    wanted = [[i for i in drawn if i in chosen[e]] for e, drawn in enumerate(sampler.drawn)]
    assert [flat(module.seen[e]) for e in range(4)] == wanted
    assert lengths.at_start == module.batches()
    assert lengths.is_last == last_once(module.batches())


class Curriculum(Sampler[int]):
    """An order of the user's own, another every epoch, told by `set_epoch`."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return N

    def __iter__(self) -> Any:
        return iter(sorted(range(N), key=lambda i: (i * 7 + 13 * self.epoch) % N))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.mark.parametrize("options", WORKERS[:2])
def test_order_of_a_custom_sampler(options):
    chosen, order = draws(), Curriculum()
    loader = train_loader(shuffle=False, sampler=Curriculum(), **options)
    module, _ = fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), loader=loader)
    for e in range(4):
        order.set_epoch(e)
        assert flat(module.seen[e]) == [i for i in order if i in chosen[e]]


def test_sequential_order():
    chosen = draws()
    module, _ = fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), loader=train_loader(shuffle=False))
    assert [flat(module.seen[e]) for e in range(4)] == [sorted(c) for c in chosen]


class Rows(Indexed):
    """Gives batches of one by itself."""

    def __getitem__(self, i: int) -> Any:
        return tuple(torch.as_tensor(v)[None] for v in super().__getitem__(i))


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_size_none(workers):
    chosen, lengths = draws(), Lengths()
    loader = DataLoader(Rows(), batch_size=None, shuffle=True, num_workers=workers)
    module, t = fit(lengths, DynamicSelection(Fixed(*chosen), keep_ratio=0.5), loader=loader)
    assert {e: Counter(flat(batches)) for e, batches in module.seen.items()} == {
        e: Counter(c) for e, c in enumerate(chosen)
    }
    assert lengths.at_start == list(SIZES)
    assert lengths.is_last == last_once(list(SIZES))
    assert t.global_step == sum(SIZES)


# ---------------------------------------------------------------- the rest of an epoch skipped
class Skipping(Module):
    """Gives up an epoch at its third batch."""

    def __init__(self, *epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 and self.current_epoch in self.epochs else None


class OpenModes(pl.Callback):
    """Function modes left open when an epoch ends."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def on_train_epoch_end(self, *args: Any) -> None:
        self.open.append(len(_get_current_function_mode_stack()))


@pytest.mark.parametrize("options", WORKERS)
@pytest.mark.parametrize("epochs", [(0, 1, 2, 3), (1,)])
def test_skipped_rest_of_an_epoch(epochs, options):
    selector, left = Listening(), OpenModes()
    callback = DynamicSelection(selector, Sizes())
    module, _ = fit(callback, left, module=Skipping(*epochs), loader=train_loader(**options))
    assert module.batches() == [min(2, n) if e in epochs else n for e, n in enumerate(BATCHES)]
    assert left.open == [0, 0, 0, 0]
    trained = Counter(i for e in range(4) for i in flat(module.seen[e]))
    assert selector.usage.tolist() == [trained[i] for i in range(N)]
    assert [sorted(f.indices.tolist()) for f in selector.heard] == [sorted(flat(module.seen[e])) for e in range(4)]
    assert all(torch.isfinite(f.per_sample_loss).all() for f in selector.heard)
