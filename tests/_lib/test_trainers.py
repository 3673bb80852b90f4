"""A Trainer starts no more processes than there are cores."""

from __future__ import annotations

import os

import lightning.pytorch as pl
import pytest

from dynsel._lib.trainers import check_processes


def test_as_many_as_there_are_cores() -> None:
    check_processes(pl.Trainer(accelerator="cpu", devices=1, logger=False))


def test_more_are_refused() -> None:
    cores = os.cpu_count()
    trainer = pl.Trainer(accelerator="cpu", devices=9999, logger=False)
    with pytest.raises(ValueError, match=f"`devices` must be at most the {cores} CPU cores, got 9999"):
        check_processes(trainer)
