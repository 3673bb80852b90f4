"""A small image set whose classes are patterns, and a pool of two networks trained on it once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch

from dynsel.data import TensorImages
from dynsel.distill import Pool

torch.set_num_threads(1)


@contextmanager
def in_float64() -> Iterator[None]:
    """New tensors, and those that the code calls `.float()` on, are of float64.

    The root in the loss makes much of the last digits where two functions nearly agree, and processors differ in
    how they round float32 convolutions. In float64 what is left is far below what a wrong formula would give.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def float64(pool) -> Iterator[None]:
    """In float64, all but the pool, which was trained before."""
    with in_float64():
        yield


def patterns(per_class: int = 30, seed: int = 0, side: int = 8, channels: int = 1, classes: int = 4) -> TensorImages:
    """Class c is bright in the c-th of four quarters, with noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(per_class * classes) % classes
    images = 90 * torch.rand(len(targets), channels, side, side, generator=generator)
    for row, code in enumerate(targets.tolist()):
        y, x = (code // 2 % 2) * side // 2, (code % 2) * side // 2
        images[row, :, y : y + side // 2, x : x + side // 2] += 120
    return TensorImages(images.byte(), targets, [f"c{code}" for code in range(classes)])


def small_pool(folder: object, **options: object) -> Pool:
    settings = {"networks": 2, "epochs": 8, "width": 8, "batch_size": 30, "lr": 0.05, "augment": "crop"}
    return Pool(str(folder), **{**settings, "cutmix": False, **options})


@pytest.fixture(scope="session")
def data() -> TensorImages:
    return patterns()


@pytest.fixture(scope="session")
def val() -> TensorImages:
    return patterns(seed=1)


@pytest.fixture(scope="session")
def pool(tmp_path_factory, data, val) -> Pool:
    made = small_pool(tmp_path_factory.mktemp("pool"))
    made.prepare(data, val, torch.device("cpu"))
    return made


class CtrlC(pl.Callback):
    """What a user's Ctrl-C does, after three steps."""

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
