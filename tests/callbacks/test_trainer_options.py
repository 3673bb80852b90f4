"""Every option of the Trainer works as it does without the plugin."""

from __future__ import annotations

import math
import os
import signal
import sys
import warnings
from collections import Counter
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from support import (
    BATCHES,
    SIZES,
    Indexed,
    Listening,
    Module,
    N,
    Sizes,
    fit,
    same_weights,
    selection,
    train_loader,
    trainer,
)
from torch.overrides import _get_current_function_mode_stack
from torch.utils.data import DataLoader

from dynsel.callbacks import DynamicSelection


def seeded(make: Any = Module, *args: Any, **options: Any) -> Any:
    """A module whose initial weights are the same each time."""
    pl.seed_everything(4, verbose=False)
    return make(*args, **options)


# ---------------------------------------------------------------- validation
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [(0, 2), (1, 9), (2, 4), (3, 1)]),
        (
            {"val_check_interval": 0.5},
            [(0, 0), (0, 1), (0, 2), (1, 4), (1, 9), (2, 1), (2, 3), (3, 0), (3, 1)],
        ),
        ({"check_val_every_n_epoch": 2}, [(1, 9), (3, 1)]),
    ],
)
@pytest.mark.parametrize("reload", [0, 1])
def test_validation_by_share_of_the_epoch(options, wanted, reload):
    module, _ = fit(selection(), reload_dataloaders_every_n_epochs=reload, **options)
    assert module.validated == wanted


@pytest.mark.parametrize("reload", [0, 1])
def test_validation_interval_longer_than_an_epoch(reload):
    module, _ = fit(selection(), val_check_interval=5, reload_dataloaders_every_n_epochs=reload)
    assert module.batches() == BATCHES
    assert module.validated == [(0, 2), (1, 4), (1, 9), (2, 4), (3, 1)]


def test_validation_interval_longer_than_the_whole_data_set_raises_as_without():
    for callbacks in ([], [selection()]):
        with pytest.raises(ValueError, match=r"`val_check_interval` \(11\) must be less than or equal to"):
            fit(*callbacks, val_check_interval=11)


class TotalBatches(Module):
    def on_validation_epoch_start(self) -> None:
        self.validated.append(self.trainer.fit_loop.epoch_loop.total_batch_idx + 1)


@pytest.mark.parametrize("reload", [0, 1])
def test_validation_across_epochs(reload):
    module, _ = fit(
        selection(),
        module=TotalBatches(),
        val_check_interval=4,
        check_val_every_n_epoch=None,
        reload_dataloaders_every_n_epochs=reload,
    )
    assert module.validated == [4, 8, 12, 16, 20]


class ValCheck(pl.Callback):
    def __init__(self) -> None:
        self.values: list[Any] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.values.append(trainer.val_check_batch)


def test_time_based_validation_stays_time_based():
    if not hasattr(trainer(), "_val_check_time_interval"):
        pytest.skip("this Lightning has no time-based validation")
    check = ValCheck()
    module, _ = fit(check, selection(), val_check_interval="00:01:00:00")
    assert module.batches() == BATCHES
    assert check.values == [None] * 4


# ---------------------------------------------------------------- limits
@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(3, [3, 3, 3, 2]), (0.5, [1, 5, 2, 1]), (0.25, [1, 2, 1, 1]), (0, []), (1, [1, 1, 1, 1]), (1.0, BATCHES)],
)
@pytest.mark.parametrize("reload", [0, 1])
def test_limit_train_batches(limit, wanted, reload):
    module, t = fit(selection(), limit_train_batches=limit, reload_dataloaders_every_n_epochs=reload)
    assert module.batches() == wanted
    assert t.global_step == sum(wanted)


@pytest.mark.parametrize("limit", [3, 0.5])
def test_what_a_limit_cuts_off_does_not_count_as_used(limit):
    callback = selection()
    module, _ = fit(callback, limit_train_batches=limit)
    trained = Counter(i for batches in module.seen.values() for batch in batches for i in batch)
    assert callback.selector.usage.tolist() == [trained[i] for i in range(N)]


# ---------------------------------------------------------------- what follows the epoch
class Scheduled(Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        if self.kind == "step":
            self.scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        else:
            self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler, "monitor": "val_loss"}}


@pytest.mark.parametrize("kind", ["step", "plateau"])
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}])
def test_epoch_schedulers_step_every_epoch(kind, options):
    module, t = fit(selection(), module=Scheduled(kind), **options)
    assert module.scheduler.last_epoch == 4
    if kind == "step":
        assert t.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5**4


class Worsening(Module):
    """Its first epoch is its best."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", float(self.current_epoch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("train_loss", float(self.current_epoch), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


def test_a_checkpoint_every_epoch(tmp_path):
    saver = ModelCheckpoint(tmp_path, "{epoch}-{step}", monitor="val_loss", save_top_k=-1)
    fit(selection(), saver, enable_checkpointing=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "epoch=0-step=3.ckpt",
        "epoch=1-step=13.ckpt",
        "epoch=2-step=18.ckpt",
        "epoch=3-step=20.ckpt",
    ]


@pytest.mark.parametrize(
    "options", [{"monitor": "val_loss"}, {"monitor": "train_loss", "check_on_train_epoch_end": True}]
)
def test_early_stopping(options):
    module, _ = fit(EarlyStopping(patience=0, **options), selection(), module=Worsening())
    assert module.batches() == BATCHES[:2]


# ---------------------------------------------------------------- ways to shorten a run
@pytest.mark.parametrize("overfit", [2, 0.5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_overfit_batches_is_left_alone(overfit, shuffle):
    options = {"overfit_batches": overfit, "max_epochs": 2}
    plain, _ = fit(module=seeded(), loader=train_loader(shuffle=shuffle), **options)
    callback = selection()
    with pytest.warns(UserWarning, match="`overfit_batches` is set, so the selection is off"):
        ours, _ = fit(callback, module=seeded(), loader=train_loader(shuffle=shuffle), **options)
    assert dict(ours.seen) == dict(plain.seen)
    assert same_weights(ours, plain)
    assert callback.history == []


@pytest.mark.parametrize(("run", "wanted"), [(True, 1), (3, 3), (7, 3)])
def test_fast_dev_run(tmp_path, monkeypatch, run, wanted):
    monkeypatch.chdir(tmp_path)
    module, _ = fit(selection(), fast_dev_run=run, enable_checkpointing=True, logger=True)
    assert module.batches() == [wanted]
    assert list(tmp_path.iterdir()) == []


def test_barebones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, _ = fit(selection(), barebones=True)
    assert module.batches() == BATCHES
    assert list(tmp_path.iterdir()) == []


def test_max_steps():
    module, t = fit(selection(), max_steps=8)
    assert module.batches() == [3, 5]
    assert t.global_step == 8


def test_endless_epochs_progress_by_steps():
    module, t = fit(selection(), max_epochs=-1, max_steps=8)
    assert module.batches() == [3, 5]
    assert t.global_step == 8


class StopAfter(pl.Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_endless_training_stays_at_the_first_ratio():
    module, _ = fit(StopAfter(3), selection(), max_epochs=-1)
    assert module.batches() == [3, 3, 3]


def test_what_waits_for_a_part_of_training_is_named_where_its_length_is_not_known():
    def warned(selection: DynamicSelection, **options: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(StopAfter(1), selection, **options)
        return [str(w.message) for w in caught if "its length isn't known" in str(w.message)]

    for name in ("el2n", "forgetting", "infobatch", "rrd"):
        made = DynamicSelection(name, keep_ratio=0.5, features=torch.randn(N, 4) if name == "rrd" else None)
        (said,) = warned(made, max_epochs=-1)
        assert said.startswith(f"DynamicSelection: {type(made.selector).__name__} would change as training goes on")
        assert said.endswith("Set `max_epochs` or `max_steps`.")
    (said,) = warned(selection(), max_epochs=-1)
    assert "the keep ratio would change" in said
    assert warned(DynamicSelection("hybrid", keep_ratio=0.5), max_epochs=-1) == []
    assert warned(DynamicSelection("el2n", keep_ratio=0.5), max_epochs=-1, max_steps=20) == []
    assert warned(DynamicSelection("el2n", keep_ratio=0.5), max_epochs=4) == []


@pytest.mark.parametrize("epochs", [10**9, sys.maxsize])
def test_a_number_of_epochs_that_nobody_means_is_no_end(epochs: int):
    """Nobody counts them one by one."""
    module, _ = fit(StopAfter(2), selection(), max_epochs=epochs)
    assert module.batches() == [3, 3]


def test_min_epochs():
    module, _ = fit(EarlyStopping("val_loss", patience=0), selection(), module=Worsening(), min_epochs=3)
    assert module.batches() == BATCHES[:3]


# ---------------------------------------------------------------- reloading
class CountingSet(Indexed):
    reads = 0

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        return super().__getitem__(i)


class CountingData(pl.LightningDataModule):
    """Counts calls of its hooks, samples read in this process, and workers started."""

    def __init__(self, folder: Any, workers: int) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.folder, self.workers = folder, workers
        self.data = CountingSet()

    def setup(self, stage: str) -> None:
        self.calls["setup"] += 1

    def train_dataloader(self) -> Any:
        self.calls["train"] += 1
        return DataLoader(
            self.data, 4, shuffle=True, num_workers=self.workers, worker_init_fn=self._note if self.workers else None
        )

    def val_dataloader(self) -> Any:
        self.calls["val"] += 1
        return DataLoader(Indexed(8), 4)

    def _note(self, worker: int) -> None:
        (self.folder / str(os.getpid())).touch()


@pytest.mark.parametrize(("reload", "wanted"), [(0, (1, 1)), (1, (4, 4)), (2, (2, 2))])
@pytest.mark.parametrize("workers", [0, 2])
def test_reloading_a_datamodule(tmp_path, reload, wanted, workers):
    data = CountingData(tmp_path, workers)
    module, t = Module(), trainer(selection(), reload_dataloaders_every_n_epochs=reload)
    t.fit(module, data)
    assert data.calls == Counter(setup=1, train=wanted[0], val=wanted[1])
    assert module.batches() == BATCHES
    # Workers read in their own processes.
    assert data.data.reads == (0 if workers else sum(SIZES))
    assert len(list(tmp_path.iterdir())) == 4 * workers


@pytest.mark.parametrize("workers", [0, 2])
def test_reloading_changes_neither_order_nor_weights(workers):
    # Lightning alone draws from the global generator at each reload, and so trains in another order.
    never, *others = (
        fit(
            selection(),
            module=seeded(Module, noise=True),
            loader=train_loader(num_workers=workers),
            reload_dataloaders_every_n_epochs=reload,
            val=False,
        )[0]
        for reload in (0, 1, 2)
    )
    for module in others:
        assert dict(module.seen) == dict(never.seen)
        assert same_weights(module, never)


# ---------------------------------------------------------------- the tuner
class Tuned(Module):
    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 4
        self.lr = 0.01
        self.sizes: list[int] = []

    def train_dataloader(self) -> Any:
        return train_loader(batch_size=self.batch_size)

    def val_dataloader(self) -> Any:
        return DataLoader(Indexed(8), 4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """The tuner keeps a checkpoint in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("tune", ["scale_batch_size", "lr_find"])
def test_tuner_then_fit(tune):
    callback, module = selection(), Tuned()
    t = trainer(callback)
    options = {"scale_batch_size": {"max_trials": 2}, "lr_find": {"num_training": 25, "early_stop_threshold": None}}
    getattr(Tuner(t), tune)(module, **options[tune])
    tuned = {i for batches in module.seen.values() for batch in batches for i in batch}
    assert callback.history == []
    if tune == "lr_find":
        # 25 steps of 10 batches an epoch.
        assert [len(batches) for batches in module.seen.values()] == [10, 10, 5]
        assert tuned == set(range(N))
    module.seen.clear()
    module.batch_size = 4
    t.fit(module)
    assert module.batches() == BATCHES
    assert callback.selector.usage.sum() == sum(SIZES)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    "make",
    [
        lambda: LearningRateFinder(num_training_steps=25, early_stop_threshold=None),
        lambda: BatchSizeFinder(max_trials=2),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_finder_callbacks(make, first):
    callback, module, finder = selection(), Tuned(), make()

    class Forget(pl.Callback):
        """What the finder trained on is none of the fit's."""

        def on_train_start(self, *args: Any) -> None:
            module.seen.clear()

    t = trainer(*((finder, callback) if first else (callback, finder)), Forget())
    t.fit(module)
    assert t.val_dataloaders.__class__ is DataLoader
    batches = [math.ceil(size / module.batch_size) for size in SIZES]
    assert module.batches() == batches
    assert callback.selector.usage.sum() == sum(SIZES)


@pytest.mark.usefixtures("in_tmp")
def test_batch_size_finder_when_validating():
    module = Tuned()
    t = trainer(selection(), BatchSizeFinder(max_trials=2))
    t.validate(module)
    assert type(t.val_dataloaders) is DataLoader
    assert len(t.val_dataloaders) == 2


# ---------------------------------------------------------------- other ways to step
class TwoOptimizers(Module):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = super().training_step(batch, batch_idx)
            self.seen[self.current_epoch].pop()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.seen[self.current_epoch].append(batch[2].tolist())

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), 0.1) for layer in (self.net[0], self.net[3])]


def test_manual_optimization_with_two_optimizers():
    module, t = fit(selection(), module=TwoOptimizers())
    assert module.batches() == BATCHES
    assert t.global_step == 2 * sum(BATCHES)
    assert module.validated == [(0, 2), (1, 9), (2, 4), (3, 1)]


class Normed(Module):
    """With batch norm, for which averaging adds an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))


def test_weight_averaging_follows_the_schedule():
    module, _ = fit(StochasticWeightAveraging(0.01, swa_epoch_start=2), selection())
    assert module.batches() == BATCHES


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("make", [Module, Normed])
def test_weight_averaging_on_everything_is_plain_averaging(make, first):
    plain, _ = fit(StochasticWeightAveraging(0.01, swa_epoch_start=2), module=seeded(make))
    callbacks = [DynamicSelection("random", keep_ratio=1.0), StochasticWeightAveraging(0.01, swa_epoch_start=2)]
    ours, _ = fit(*(callbacks if first else callbacks[::-1]), module=seeded(make))
    assert dict(ours.seen) == dict(plain.seen)
    assert same_weights(ours, plain)


class Fetching(Module):
    def training_step(self, dataloader_iter: Any) -> Any:
        batch, _, _ = next(dataloader_iter)
        return super().training_step(batch, 0)


def test_dataloader_iter_step():
    module, _ = fit(selection(), module=Fetching())
    assert module.batches() == BATCHES


# ---------------------------------------------------------------- more than one fit
def test_a_continued_fit_follows_the_schedule():
    callback, module, loader = selection(), Module(), train_loader()
    t = trainer(callback, max_epochs=2)
    t.fit(module, loader)
    # Halfway through a training of two epochs stands the third of four sizes.
    assert module.batches() == [3, 5]
    assert type(loader) is DataLoader
    assert len(loader) == 10
    t.fit_loop.max_epochs = 4
    t.fit(module, loader)
    assert module.batches() == [3, 5, 5, 2]
    assert [record.epoch for record in callback.history] == [0, 1, 2, 3]
    assert callback.selector.usage.sum() == 12 + 20 + 20 + 8
    assert len(loader) == 10


class Lens(pl.Callback):
    def __init__(self) -> None:
        self.lens: list[int] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.lens.append(len(trainer.train_dataloader))


def test_another_data_set_starts_afresh():
    callback, module, lens = selection(), Module(), Lens()
    t = trainer(callback, lens, max_epochs=2)
    t.fit(module, train_loader())
    t.fit_loop.max_epochs = 4
    t.fit(module, train_loader(80))
    assert module.batches() == [3, 5, 10, 4]
    assert lens.lens == [3, 5, 10, 4]
    assert len(callback.selector.usage) == 80
    assert callback.selector.usage.sum() == 40 + 16
    assert max(i for batches in module.seen.values() for batch in batches for i in batch) >= 40


def test_a_second_trainer_starts_afresh():
    callback = selection()
    runs = [fit(callback)[0] for _ in range(2)]
    assert dict(runs[1].seen) == dict(runs[0].seen)
    assert [record.epoch for record in callback.history] == [0, 1, 2, 3]
    assert callback.selector.usage.sum() == sum(SIZES)


class Evaluating(Module):
    def __init__(self) -> None:
        super().__init__()
        self.evaluated: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated += batch[2].tolist()

    test_step = predict_step = validation_step


def test_other_entry_points_see_everything():
    module, loader = Evaluating(), train_loader()
    t = trainer(selection())
    entries = [t.validate, t.test, t.predict]

    def evaluate() -> list[list[int]]:
        result = []
        for entry in entries:
            module.evaluated = []
            entry(module, loader, **({} if entry == t.predict else {"verbose": False}))
            result.append(sorted(module.evaluated))
        return result

    assert evaluate() == [list(range(N))] * 3
    t.fit(module, loader)
    assert module.batches() == BATCHES
    assert evaluate() == [list(range(N))] * 3


def test_sanity_check_does_not_consume_the_selection():
    selectors = [Listening() for _ in range(2)]
    for selector, steps in zip(selectors, (0, 2), strict=True):
        module, _ = fit(DynamicSelection(selector, Sizes()), num_sanity_val_steps=steps)
        assert module.batches() == BATCHES
    heard = [[sorted(f.indices.tolist()) for f in selector.heard] for selector in selectors]
    assert heard[1] == heard[0]


def test_sanity_check_on_the_training_loader():
    module, loader = Evaluating(), train_loader()
    t = trainer(selection(), num_sanity_val_steps=-1)
    t.fit(module, loader, loader)
    assert module.batches() == BATCHES
    # Sanity check and four validations.
    assert sorted(module.evaluated) == sorted(list(range(N)) * 5)


# ---------------------------------------------------------------- cleaning up
class Failing(Module):
    """Raises at a hook, in epoch 1 where there is one."""

    def __init__(self, where: str, error: type[BaseException]) -> None:
        super().__init__()
        self.where, self.error = where, error

    def _fail(self, where: str) -> None:
        if self.where == where and (where in ("configure_optimizers", "setup") or self.current_epoch == 1):
            if self.error is KeyboardInterrupt:
                os.kill(os.getpid(), signal.SIGINT)
            raise self.error("on purpose")

    def setup(self, stage: str) -> None:
        self._fail("setup")

    def configure_optimizers(self) -> Any:
        self._fail("configure_optimizers")
        return super().configure_optimizers()

    def on_train_epoch_start(self) -> None:
        self._fail("on_train_epoch_start")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        loss = F.cross_entropy(self(x), y)
        self._fail("training_step")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._fail("validation_step")


def patches(t: pl.Trainer, module: pl.LightningModule) -> set[tuple[str, str]]:
    """Attributes that could be a patch: functions put on an object instead of its class, hooks, open modes."""
    owners = {
        "trainer": t,
        "fit_loop": t.fit_loop,
        "epoch_loop": t.fit_loop.epoch_loop,
        "data_source": t.fit_loop._data_source,
        "strategy": t.strategy,
        "module": module,
    }
    found = {(name, key) for name, owner in owners.items() for key, v in vars(owner).items() if callable(v)}
    found |= {("attribute", key) for key in vars(t)}
    found |= {("hook", name) for name, m in module.named_modules() if m._forward_pre_hooks or m._forward_hooks}
    return found | {("mode", str(mode)) for mode in _get_current_function_mode_stack()}


@pytest.fixture
def interrupts():
    """Lightning ignores Ctrl-C once it was pressed; other tests shouldn't have to."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "where", ["setup", "configure_optimizers", "on_train_epoch_start", "training_step", "validation_step"]
)
def test_nothing_stays_patched_after_an_error(where, error):
    left = []
    handler = signal.getsignal(signal.SIGINT)
    for callbacks in ([], [DynamicSelection(Listening(), Sizes())]):
        module, t = Failing(where, error), trainer(*callbacks)
        with pytest.raises(SystemExit if error is KeyboardInterrupt else RuntimeError):
            t.fit(module, train_loader(), DataLoader(Indexed(8), 4))
        signal.signal(signal.SIGINT, handler)
        left.append(patches(t, module))
    assert left[1] - left[0] == set()


def test_nothing_stays_patched_after_a_fit():
    left = []
    for callbacks in ([], [DynamicSelection(Listening(), Sizes(), features="model")]):
        module, t = fit(*callbacks)
        left.append(patches(t, module))
    assert left[1] - left[0] == set()


def test_a_fit_after_an_error_is_whole():
    callback, module = selection(), Failing("training_step", RuntimeError)
    t = trainer(callback)
    with pytest.raises(RuntimeError, match="on purpose"):
        t.fit(module, train_loader())
    module.where = ""
    module.seen.clear()
    again = trainer(callback)
    again.fit(module, train_loader())
    assert module.batches() == BATCHES
