"""A Trainer starts no more processes than there are cores, and a schedule is told where it ends."""

from __future__ import annotations

import os
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

from dynsel._lib.trainers import check_processes, planned_steps


def test_as_many_as_there_are_cores() -> None:
    check_processes(pl.Trainer(accelerator="cpu", devices=1, logger=False))


def test_more_are_refused() -> None:
    cores = os.cpu_count()
    trainer = pl.Trainer(accelerator="cpu", devices=9999, logger=False)
    with pytest.raises(ValueError, match=f"`devices` must be at most the {cores} CPU cores, got 9999"):
        check_processes(trainer)


def steps_planned(**options: int) -> int:
    noted: list[int] = []

    class Schedules(BoringModel):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            noted.append(planned_steps(self.trainer, "the schedule goes to an end"))
            return torch.optim.SGD(self.parameters(), 0.1)

    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", **off, **options)
    trainer.fit(Schedules(), DataLoader(RandomDataset(32, 10), 2))
    return noted[0]


def test_steps_are_those_of_the_optimiser() -> None:
    assert steps_planned(max_epochs=2) == 10
    assert steps_planned(max_epochs=2, accumulate_grad_batches=2) == 6  # three an epoch, the last of one batch
    assert steps_planned(max_epochs=-1, max_steps=7) == 7
    assert steps_planned(max_steps=0) == 1


def test_a_training_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the schedule goes to an end: set max_steps or max_epochs$"):
        steps_planned(max_epochs=-1)


def test_a_loader_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^it ends: set max_steps or max_epochs$"):
        planned_steps(SimpleNamespace(estimated_stepping_batches=-1), "it ends")
