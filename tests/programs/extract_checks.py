"""Extraction on several ranks and in processes that are killed; what tests/features/test_extract.py looks at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from dynsel.features.extract import extract
from dynsel.features.extractors import ModuleInput

RANK, WORLD = 0, 1


class Slow(Dataset[Any]):
    """100 items, each of which takes its time."""

    def __init__(self, seconds: float = 0.0, n: int = 100) -> None:
        self.x = torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
        self.targets = [i % 3 for i in range(n)]
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        time.sleep(self.seconds)
        return self.x[i], self.targets[i]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def write(path: Path, seconds: float = 0.0, **options: Any) -> Path:
    """The features of all items, blocks of 9 rows in batches of 4."""
    options = {"batch_size": 4, "block_rows": 9, "accelerator": "cpu", **options}
    return extract(Slow(seconds), ModuleInput(network()), path, **options).path


def by_two(folder: Path) -> list[int]:
    """Written by two ranks."""
    store = extract(
        Slow(),
        ModuleInput(network()),
        folder / "two.npy",
        batch_size=4,
        block_rows=9,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
    )
    return list(store.features.shape)


def fewer_blocks_than_ranks(folder: Path) -> list[int]:
    """One block: the second rank has nothing to do."""
    store = extract(
        Slow(n=5),
        ModuleInput(network()),
        folder / "few.npy",
        batch_size=4,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
    )
    return list(store.features.shape)


CHECKS: dict[int, list[Callable[[Path], Any]]] = {2: [by_two, fewer_blocks_than_ranks]}
