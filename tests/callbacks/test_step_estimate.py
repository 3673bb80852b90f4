"""`trainer.estimated_stepping_batches` is the number of steps that a fit takes."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from support import BATCHES, SIZES, Fixed, Module, fit, selection, train_loader, trainer

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.step_estimate import StepEstimate
from dynsel.schedules import Step

ESTIMATED = [
    {},
    {"accumulate_grad_batches": 2},
    {"accumulate_grad_batches": 3},
    {"limit_train_batches": 3},
    {"limit_train_batches": 0.5},
    {"limit_train_batches": 0.5, "accumulate_grad_batches": 2},
    {"reload_dataloaders_every_n_epochs": 1},
    {"accumulate_grad_batches": 2, "reload_dataloaders_every_n_epochs": 1},
]


@pytest.mark.parametrize("options", ESTIMATED)
@pytest.mark.parametrize("sizes", [SIZES, (4, 36, 12, 5), (40, 30, 20, 10)])
def test_the_estimate_is_the_number_of_steps(options, sizes):
    module, t = fit(selection(sizes), val=False, **options)
    assert module.estimate == t.global_step
    assert type(t) is pl.Trainer


@pytest.mark.parametrize("max_steps", [8, 13])
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}])
def test_estimate_with_max_steps(max_steps, options):
    module, t = fit(selection((40, 40, 40, 40)), max_steps=max_steps, **options)
    assert module.estimate == t.global_step == max_steps


def test_estimate_without_an_end():
    module, t = fit(selection(), max_epochs=-1, max_steps=8)
    assert module.estimate == t.global_step == 8


def test_estimate_of_a_selector_that_decides_the_size_itself_is_an_upper_bound():
    module, t = fit(DynamicSelection(Fixed(list(range(12)), list(range(30))), keep_ratio=0.5))
    assert module.estimate == 40
    assert t.global_step == 3 + 3 * 8


class LateEstimate(Module):
    """Asks only once training is about to begin."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_train_start(self) -> None:
        self.estimate = self.trainer.estimated_stepping_batches


def test_estimate_asked_late():
    module, t = fit(selection(), module=LateEstimate())
    assert module.estimate == t.global_step == sum(BATCHES)


class OneCycle(Module):
    def configure_optimizers(self) -> Any:
        self.estimate = self.trainer.estimated_stepping_batches
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=int(self.estimate))
        return [optimizer], [{"scheduler": self.scheduler, "interval": "step"}]


@pytest.mark.parametrize("options", ESTIMATED)
def test_one_cycle_ends_at_its_minimum(options):
    module, t = fit(selection(), module=OneCycle(), **options)
    # The last step sets the rate after it, which lies one step before the cycle's end.
    assert module.scheduler.last_epoch == t.global_step == module.estimate
    assert module.scheduler.get_last_lr()[0] <= 0.1 / module.estimate


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 24), (2, 20)])
def test_a_falling_keep_ratio_of_few_batches(accumulate, steps):
    """By the mean epoch there would be 40 steps, of two batches or of one."""
    callback = DynamicSelection("random", keep_ratio=Step([1.0, 0.5], [0.2]))
    module, t = fit(
        callback,
        module=OneCycle(),
        loader=train_loader(70, batch_size=36),
        max_epochs=20,
        accumulate_grad_batches=accumulate,
    )
    assert module.estimate == t.global_step == steps
    assert module.scheduler.get_last_lr()[0] <= 0.1 / module.estimate


# ---------------------------------------------------------------- several loaders, several callbacks
@pytest.mark.parametrize(("mode", "wanted"), [("max_size_cycle", [7, 10, 7, 7]), ("min_size", [3, 7, 5, 2])])
def test_another_loader_takes_part(mode, wanted):
    class Both(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["a"], batch_idx)

    loaders = CombinedLoader({"a": train_loader(), "b": train_loader(28)}, mode)
    module, t = fit(selection(loader="a"), module=Both(), loader=loaders)
    assert module.estimate == t.global_step == sum(wanted)


def test_two_callbacks_leave_the_trainer_as_it_was():
    class Both(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert type(self.trainer) is not pl.Trainer
            return super().training_step(batch["a"], batch_idx)

    loaders = CombinedLoader({"a": train_loader(), "b": train_loader()}, "max_size_cycle")
    first, second = selection(loader="a"), selection((8, 8, 8, 8), loader="b")
    _, t = fit(first, second, module=Both(), loader=loaders)
    assert type(t) is pl.Trainer


def test_after_an_error_the_trainer_is_as_it_was():
    class Failing(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError(f"{type(self.trainer).__name__} {isinstance(self.trainer, pl.Trainer)}")

    t = trainer(selection())
    with pytest.raises(RuntimeError, match="Trainer True"):
        t.fit(Failing(), train_loader())
    assert type(t) is pl.Trainer
    estimate = StepEstimate(t, lambda: [3, 4])
    estimate.uninstall()
    estimate.install()
    assert (t.estimated_stepping_batches if t.train_dataloader else 7, type(t).__name__) == (7, "Trainer")
    estimate.uninstall()
    estimate.uninstall()
    assert type(t) is pl.Trainer
