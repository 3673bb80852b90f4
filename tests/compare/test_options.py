"""What of a Trainer's options a comparison follows, says that it leaves out, or refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import EarlyStopping, LearningRateFinder, RichProgressBar, StochasticWeightAveraging

from dynsel.compare.options import check_trainer, left_out, named_devices, refuse_callbacks


def options(**given: Any) -> Namespace:
    limits = {"overfit_batches": 0.0, "limit_train_batches": None, "limit_val_batches": None}
    usual = {"fast_dev_run": False, "barebones": False, "max_steps": -1, **limits}
    where = {"devices": "auto", "num_nodes": 1, "accelerator": "auto", "max_time": None, "callbacks": None}
    return Namespace(usual | where | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overfit_batches": 3}, "`trainer.overfit_batches` must not be 3: .*set `trainer.limit_train_batches`"),
        ({"fast_dev_run": 1}, "`trainer.fast_dev_run` must not be 1: .*set `trainer.max_steps`"),
        ({"limit_val_batches": 0.0}, "`trainer.limit_val_batches` must not be 0.0: results are those of validation"),
        ({"limit_train_batches": 0}, "`trainer.limit_train_batches` must not be 0: nothing would be trained"),
        ({"barebones": True}, "`trainer.barebones` must not be True: results are those that validation logs"),
        ({"max_steps": 0}, "`trainer.max_steps` must not be 0: it must be at least 1, or -1"),
    ],
)
def test_options_with_which_nothing_is_compared_are_refused(given: dict[str, Any], said: str) -> None:
    check_trainer(options())
    with pytest.raises(ValueError, match=said):
        check_trainer(options(**given))


def test_callbacks_that_change_what_is_compared_are_refused() -> None:
    refuse_callbacks([EarlyStopping("val_loss"), RichProgressBar()], "`trainer.callbacks`")
    with pytest.raises(ValueError, match=r"the model must be without StochasticWeightAveraging: .*take .*EMAWeight"):
        refuse_callbacks([StochasticWeightAveraging(0.1)], "the model")
    with pytest.raises(ValueError, match="the model must be without Own: it would give each run a learning rate"):
        refuse_callbacks([type("Own", (LearningRateFinder,), {})()], "the model")


@pytest.mark.parametrize(
    ("given", "gpus", "several"),
    [
        ({}, 0, False),
        ({}, 1, False),
        ({}, 4, True),
        ({"accelerator": "cpu"}, 4, False),
        ({"devices": 1}, 4, False),
        ({"devices": "1"}, 4, False),
        ({"devices": "2,"}, 4, False),
        ({"devices": [2]}, 4, False),
        ({"devices": "0,1"}, 4, True),
        ({"devices": [0, 1]}, 4, True),
        ({"devices": 2, "accelerator": "cpu"}, 0, True),
        ({"devices": -1}, 4, True),
        ({"num_nodes": 2, "devices": 1}, 1, True),
    ],
)
def test_it_says_that_runs_have_one_device(
    given: dict[str, Any], gpus: int, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    where = options(**given)
    wanted = f"on one device: `trainer.devices` is {where.devices}, `trainer.num_nodes` {where.num_nodes}"
    assert left_out(where) == [wanted] * several


def test_it_says_what_would_end_runs_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    callbacks = [RichProgressBar(), EarlyStopping("val_loss")]
    said = "without EarlyStopping and `trainer.max_time`: every run takes the same number of optimiser steps"
    assert left_out(options(callbacks=callbacks, max_time="00:01:00:00")) == [said]
    assert left_out(options(callbacks=callbacks[:1])) == []


def test_devices_that_are_named() -> None:
    assert [named_devices(given) for given in ("1,3", "2,", [0], "auto", "2", 2)] == [[1, 3], [2], [0], [], [], []]
