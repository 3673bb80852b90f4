"""A loader that is exchanged while training goes on."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from support import Indexed, Module, N, trainer
from torch.utils.data import DataLoader

from dynsel.callbacks import DynamicSelection
from dynsel.samplers import SelectionController


class Relabelled(Indexed):
    """As many samples, of other classes."""

    def __init__(self) -> None:
        super().__init__()
        self.targets = [i // (N // 2) for i in range(N)]


class Exchanged(pl.LightningDataModule):
    """Another data set from epoch 2 on."""

    def __init__(self, later: Any) -> None:
        super().__init__()
        self.later = later

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        return DataLoader(self.later() if self.trainer.current_epoch >= 2 else Indexed(), 4, shuffle=True)


def trained(later: Any, *, every: int = 1, **options: Any) -> tuple[DynamicSelection, Module, list[str]]:
    pl.seed_everything(1, verbose=False)
    callback, module = DynamicSelection("random", **options), Module()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(callback, reload_dataloaders_every_n_epochs=every).fit(module, Exchanged(later))
    return callback, module, [str(w.message) for w in caught if "other data now" in str(w.message)]


@pytest.mark.parametrize("options", [{"keep_ratio": 0.5}, {"budget": 0.5}])
def test_a_new_object_of_the_same_data_goes_on(options):
    callback, _, said = trained(Indexed, **options)
    assert said == []
    assert callback.selector.usage.tolist() == [2] * N
    assert [record.epoch for record in callback.history] == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{"keep_ratio": 0.5}, {"budget": 0.5}])
def test_other_data_are_said_and_begin_afresh(options):
    callback, module, said = trained(lambda: Indexed(60), **options)
    assert len(said) == 1
    assert "other data now (60 samples after 40)" in said[0]
    assert "let one data set hold all samples" in said[0]
    # Halves of 60 twice, of which rounds of whole batches leave out none or two.
    assert len(callback.selector.usage) == 60
    fed = [len({i for batch in module.seen[epoch] for i in batch}) for epoch in range(4)]
    assert fed[:2] == [20, 20]
    assert fed[2:] == ([30, 30] if "keep_ratio" in options else [32, 32])
    assert int(callback.selector.usage.sum()) == sum(fed[2:])
    records = callback.history
    assert [record.epoch for record in records] == [0, 1, 2, 3]
    assert [record.samples_trained for record in records] == [sum(fed[: e + 1]) for e in range(4)]
    assert records[1].coverage == 1.0
    assert records[2].coverage < 1.0


def test_as_many_samples_of_other_classes_are_other_data():
    callback, _, said = trained(Relabelled, keep_ratio=0.5)
    assert len(said) == 1
    assert callback.selector.usage.tolist() == [1] * N


def test_by_hand_it_is_the_same():
    selection = SelectionController("random", keep_ratio=0.5, max_epochs=4, seed=0)
    loader = selection.wrap(DataLoader(Indexed(), 4))
    loader.sampler.set_epoch(0)
    list(loader)
    with pytest.warns(UserWarning, match="other data now"):
        loader = selection.wrap(DataLoader(Indexed(8), 4))
    loader.sampler.set_epoch(1)
    assert len(list(loader)) == 1
    assert selection.finish_epoch().samples_trained == 24
    assert int(selection.selector.usage.sum()) == 4


def test_after_the_training_other_data_are_a_new_run():
    selection = SelectionController("random", keep_ratio=0.5, max_epochs=4, seed=0)
    loader = selection.wrap(DataLoader(Indexed(), 4))
    loader.sampler.set_epoch(0)
    list(loader)
    selection.epochs.end_training()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selection.wrap(DataLoader(Indexed(8), 4))
    assert (selection.epoch, selection.history) == (-1, [])


def test_labels_that_cannot_be_compared_are_no_reason():
    class Measured(Indexed):
        def __init__(self) -> None:
            super().__init__()
            self.targets = torch.rand(N)  # type: ignore[assignment]

    selection = SelectionController("random", keep_ratio=0.5, max_epochs=4, seed=0)
    loader = selection.wrap(DataLoader(Indexed(), 4))
    loader.sampler.set_epoch(0)
    list(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selection.wrap(DataLoader(Measured(), 4))
    assert selection.epoch == 0
