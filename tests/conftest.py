"""Quiet Lightning: its notices repeat for each of hundreds of Trainers and bury what a failing test says. No hurry."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# These models are so small that threads wait for each other: on a busy machine two are 20 times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
# Busy machines take their time, and no test is about speed.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def process_as_it_was() -> Iterator[None]:
    """Lightning ignores SIGINT after an interrupt, and commands set the number of threads."""
    import torch  # after the environment is set

    handler, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    yield
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration of a small comparison, `digits.yaml`."""
    from reports import CONFIG  # a second that most tests needn't wait for

    path = tmp_path_factory.mktemp("compare")
    (path / "digits.yaml").write_text(CONFIG)
    return path
