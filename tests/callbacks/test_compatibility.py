"""Checkpoints beside other setups, other Lightnings, and both of its names."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import lightning.pytorch.loops.fit_loop as fit_loop
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch.utilities import CombinedLoader
from support import (
    BATCHES,
    SIZES,
    Indexed,
    Listening,
    Module,
    N,
    SaveEvery,
    Sizes,
    fit,
    same_weights,
    selection,
    train_loader,
    trainer,
)
from torch.utils.data import DataLoader, WeightedRandomSampler

from dynsel.callbacks import DynamicSelection, lightning_driver, lightning_names


# ---------------------------------------------------------------- checkpoints beside other setups
def test_resuming_warns_of_nothing(tmp_path):
    saver = SaveEvery(tmp_path)
    fit(selection(), saver)
    for path in saver.paths[::4]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(selection(), ckpt_path=path)
        assert [str(w.message) for w in caught if "resum" in str(w.message)] == []


@pytest.mark.parametrize(
    "make", [selection, lambda: DynamicSelection(Listening(), Sizes()), lambda: DynamicSelection("rrd", Sizes())]
)
def test_checkpoints_load_with_weights_only(tmp_path, make):
    saver = SaveEvery(tmp_path)
    fit(make(), saver)
    for path in saver.paths:
        state = torch.load(path, weights_only=True)["callbacks"]
        assert [bool(value) for key, value in state.items() if key.startswith("DynamicSelection")] == [True]


class Two(Module):
    """Trains on two loaders."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step([torch.cat(pair) for pair in zip(batch["a"], batch["b"], strict=True)], batch_idx)


def test_two_instances_keep_their_own_state(tmp_path):
    def run(*callbacks: pl.Callback, **options: Any) -> tuple[Module, list[DynamicSelection]]:
        pair = [selection((20, 12, 40, 8), loader="a"), selection((40, 20, 20, 20), loader="b")]
        loaders = CombinedLoader({"a": train_loader(), "b": train_loader()}, "min_size")
        return fit(*pair, *callbacks, module=Two(), loader=loaders, val=False, **options)[0], pair

    saver = SaveEvery(tmp_path)
    whole, pair = run(saver)
    assert pair[0].state_key != pair[1].state_key
    assert {c.state_key for c in pair} <= set(torch.load(saver.paths[-1])["callbacks"])
    for path in saver.paths[::3]:
        resumed, again = run(ckpt_path=path, seed=2)
        assert [c.selector.usage.tolist() for c in again] == [c.selector.usage.tolist() for c in pair]
        assert [len(batches) for batches in list(resumed.seen.values())[1:]] == [
            len(whole.seen[e]) for e in list(resumed.seen)[1:]
        ]


def test_same_loader_twice_is_refused():
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `DynamicSelection`"):
        trainer(selection(), selection())


@pytest.mark.parametrize("val", [True, False])
def test_checkpoint_of_plain_training_goes_on_with_selection(tmp_path, val):
    saver = SaveEvery(tmp_path)
    fit(saver, val=val)
    for number, path in list(enumerate(saver.paths, 1))[8:32:3]:
        module, t = fit(selection(), ckpt_path=path, val=val)
        # What is whole after the resume, is as scheduled.
        first = number // 10 + (number % 10 > 0)
        assert [len(module.seen[e]) for e in range(first, 4)] == BATCHES[first:]
        assert t.current_epoch == 4


@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end"])
def test_checkpoint_with_selection_goes_on_without(tmp_path, val, hook):
    saver = SaveEvery(tmp_path, hook)
    fit(selection(), saver, val=val)
    for path in saver.paths[::3]:
        epoch = torch.load(path)["epoch"]
        module, t = fit(ckpt_path=path, val=val)
        assert [len(module.seen[e]) for e in range(epoch + 1, 4)] == [10] * (3 - epoch)
        assert t.current_epoch == 4


def seeded_loader(kind: str) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    if kind == "sampler":
        return train_loader(shuffle=False, sampler=WeightedRandomSampler(torch.ones(N), N, generator=generator))
    return train_loader(generator=generator, num_workers=2 if kind == "workers" else 0)


@pytest.mark.parametrize("kind", ["loader", "workers", "sampler"])
def test_generators_of_the_users_own_go_on_where_they_were(tmp_path, kind):
    def run(*callbacks: pl.Callback, **options: Any) -> Module:
        loader = seeded_loader(kind)
        return fit(selection((12, 40, 20)), *callbacks, module=Module(), loader=loader, max_epochs=3, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    different = [p.name for p in saver.paths[::3] if not same_weights(whole, run(ckpt_path=p, seed=2))]
    assert different == []


# ---------------------------------------------------------------- names that Lightning might rename
def remove(monkeypatch: pytest.MonkeyPatch, owner: Any, path: str) -> None:
    """Take a name away from an object, wherever it has it from."""
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    if name in vars(owner):
        monkeypatch.delattr(owner, name)
    for kind in type(owner).__mro__:
        if name in vars(kind):
            monkeypatch.delattr(kind, name)


def assert_public_route(error: pytest.ExceptionInfo[RuntimeError], name: str) -> None:
    text = str(error.value)
    assert f"has no {name}, which DynamicSelection relies on" in text
    assert "reload_dataloaders_every_n_epochs=1" in text
    assert "SelectionController" in text


@pytest.mark.parametrize("path", lightning_driver.NEEDED)
def test_a_missing_name_is_one_clear_error(monkeypatch, path):
    t, callback = trainer(), selection()
    remove(monkeypatch, t, path)
    before = set(vars(t.fit_loop))
    with pytest.raises(RuntimeError) as error:
        callback.setup(t, Module(), "fit")
    assert_public_route(error, path)
    assert set(vars(t.fit_loop)) == before


def test_a_missing_name_of_the_loaders(monkeypatch):
    remove(monkeypatch, CombinedLoader([]), "limits")
    with pytest.raises(RuntimeError) as error:
        selection().setup(trainer(), Module(), "fit")
    assert_public_route(error, "CombinedLoader.limits")


def test_a_missing_name_ends_the_fit_before_it_begins(monkeypatch):
    module = Module()
    remove(monkeypatch, trainer(), "fit_loop.epoch_loop.restarted_on_train_batch_end")
    with pytest.raises(RuntimeError) as error:
        fit(selection(), module=module)
    assert_public_route(error, "fit_loop.epoch_loop.restarted_on_train_batch_end")
    assert dict(module.seen) == {}


def test_every_private_name_in_use_is_checked():
    source = Path(lightning_driver.__file__).read_text()
    used = set(re.findall(r"\b(?:loop|trainer|source|combined|progress|current)\.(_[a-z]\w*)", source))
    checked = {
        name for path in (*lightning_driver.NEEDED, *lightning_driver.NEEDED_OF_LOADER) for name in path.split(".")
    }
    assert used - checked == set()
    assert used >= {"_data_source", "_combined_loader", "_data_fetcher"}


def test_the_public_route_works():
    """What the error message recommends, without a private name."""
    from dynsel.samplers import SelectionController

    control = SelectionController("random", Sizes(), max_epochs=4, seed=0)

    class Public(Module):
        def setup(self, stage: str) -> None:
            self.loader = control.wrap(train_loader())
            control.set_epoch(0)

        def on_train_epoch_end(self) -> None:
            control.finish_epoch()
            if self.current_epoch < 3:
                control.set_epoch(self.current_epoch + 1)

        def train_dataloader(self) -> Any:
            return self.loader

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    module, t = Public(), trainer(reload_dataloaders_every_n_epochs=1)
    t.fit(module)
    assert module.batches() == BATCHES
    assert [record.keep_ratio for record in control.history] == [size / 40 for size in SIZES]
    assert control.selector.usage.sum() == sum(SIZES)


# ---------------------------------------------------------------- an upstream change to come
@pytest.fixture
def upstream(monkeypatch):
    """Lightning's pull requests 21941 and 21960: the samplers' epoch is also set in `setup_data`."""

    def apply() -> None:
        select = fit_loop._select_data_fetcher

        def select_and_set_epoch(t: pl.Trainer, stage: Any) -> Any:
            fetcher = select(t, stage)
            setup = fetcher.setup

            def setup_and_set_epoch(combined: CombinedLoader) -> None:
                setup(combined)
                for loader in combined.flattened:
                    _set_sampler_epoch(loader, t.fit_loop.epoch_progress.current.processed)

            fetcher.setup = setup_and_set_epoch
            return fetcher

        monkeypatch.setattr(fit_loop, "_select_data_fetcher", select_and_set_epoch)

    return apply


class Observed(pl.Callback):
    """What a callback that comes first sees of each epoch."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []

    def on_train_epoch_start(self, t: pl.Trainer, *args: Any) -> None:
        self.epochs.append((t.num_training_batches, t.val_check_batch))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loader_options": {"num_workers": 2}},
        {"loader_options": {"num_workers": 2, "persistent_workers": True}},
        {"accumulate_grad_batches": 2},
        {"limit_train_batches": 0.5},
        {"val_check_interval": 0.5},
        {"val_check_interval": 5},
        {"val_check_interval": 5, "reload_dataloaders_every_n_epochs": 1},
        {"reload_dataloaders_every_n_epochs": 2},
        {"max_steps": 8, "max_epochs": -1},
    ],
)
def test_setting_the_epoch_earlier_changes_nothing(upstream, options):
    options = dict(options)
    loader_options = options.pop("loader_options", {})
    runs = []
    for change in (lambda: None, upstream):
        change()
        pl.seed_everything(4, verbose=False)
        observed = Observed()
        module, t = fit(
            observed, selection(), module=Module(noise=True), loader=train_loader(**loader_options), **options
        )
        runs.append((dict(module.seen), module.validated, module.estimate, observed.epochs, t.global_step, module))
    assert runs[1][:-1] == runs[0][:-1]
    assert same_weights(runs[0][-1], runs[1][-1])


@pytest.mark.parametrize("sizes", [(20, 12, 40), (12, 40, 20)])
@pytest.mark.parametrize("workers", [0, 2])
def test_setting_the_epoch_earlier_resumes_exactly(tmp_path, upstream, sizes, workers):
    upstream()

    def run(*callbacks: pl.Callback, **options: Any) -> Module:
        loader = train_loader(num_workers=workers)
        return fit(selection(sizes), *callbacks, module=Module(noise=True), loader=loader, max_epochs=3, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    paths = saver.paths[:: 4 if workers else 1]
    assert [p.name for p in paths if not same_weights(whole, run(ckpt_path=p, seed=2))] == []


# ---------------------------------------------------------------- Lightning's other name
def test_pytorch_lightning_need_not_be_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    assert lightning_names._callback_classes() == [pl.Callback]


def test_pytorch_lightning(tmp_path):
    other = pytest.importorskip("pytorch_lightning")

    class Other(other.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 2)
            self.seen: dict[int, list[list[int]]] = {}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.setdefault(self.current_epoch, []).append(batch[2].tolist())
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            self.estimate = self.trainer.estimated_stepping_batches
            return torch.optim.SGD(self.parameters(), 0.1)

    def run(**options: Any) -> tuple[Any, DynamicSelection]:
        other.seed_everything(options.pop("seed", 1), verbose=False)
        callback, module = DynamicSelection(Listening(), Sizes()), Other()
        t = other.Trainer(
            max_epochs=4,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[
                callback,
                other.callbacks.ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=4),
            ],
        )
        t.fit(module, DataLoader(Indexed(), 4, shuffle=True), **options)
        return module, callback

    whole, callback = run()
    assert [len(batches) for batches in whole.seen.values()] == BATCHES
    assert whole.estimate == sum(BATCHES)
    assert callback.selector.usage.sum() == sum(SIZES)
    resumed, again = run(ckpt_path=tmp_path / "step=8.ckpt", seed=2)
    assert [len(batches) for batches in resumed.seen.values()] == [5, 5, 2]
    assert again.selector.usage.tolist() == callback.selector.usage.tolist()
    assert same_weights(resumed, whole)
