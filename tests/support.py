"""The small data set, module and Trainer that the Lightning tests share."""

from __future__ import annotations

import random
import time
import warnings
from collections import defaultdict
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynsel.callbacks import DynamicSelection
from dynsel.schedules import Schedule
from dynsel.selection import Selection
from dynsel.selectors import Feedback, Random, Selector

N, BATCH = 40, 4
# On a busy machine threads that wait for each other make a millisecond's work take fifty.
torch.set_num_threads(1)

SIZES = (12, 40, 20, 8)
BATCHES = [3, 10, 5, 2]


class Indexed(Dataset[Any]):
    """Sample i: four features, a binary label, and i itself, by which a test sees what was trained on."""

    def __init__(self, n: int = N) -> None:
        self.x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
        self.targets = [i % 2 for i in range(n)]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
        return self.x[i], self.targets[i], i


class Sizes(Schedule):
    """Keep ratios that give these sizes, one an epoch."""

    def __init__(self, sizes: tuple[int, ...] = SIZES, n: int = N) -> None:
        self.sizes, self.n = sizes, n

    def __call__(self, progress: float) -> float:
        epoch = min(int(progress * len(self.sizes) + 1e-6), len(self.sizes) - 1)
        return self.sizes[epoch] / self.n


class Fixed(Selector):
    """Selects what a test says: one list of indices an epoch."""

    exact = False

    def __init__(self, *epochs: list[int], weights: list[float] | None = None) -> None:
        super().__init__()
        self.epochs, self.weights, self.calls = epochs, weights, 0

    def select(self, progress: float, size: int) -> Selection:
        chosen = self.epochs[min(self.calls, len(self.epochs) - 1)]
        self.calls += 1
        return Selection(
            torch.tensor(chosen, dtype=torch.int64),
            None if self.weights is None else torch.tensor(self.weights),
        )


class Slow(Random):
    """Takes its time over every choice."""

    def select(self, progress: float, size: int) -> Selection:
        time.sleep(0.2)
        return super().select(progress, size)


class Listening(Random):
    """Selects at random and keeps what it is told."""

    wants = frozenset({"per_sample_loss"})

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Feedback] = []

    def learn(self, feedback: Feedback) -> None:
        self.heard.append(feedback)


class Module(pl.LightningModule):
    """Notes the indices of each training batch in `seen[epoch]`."""

    def __init__(self, *, dropout: float = 0.3, noise: bool = False) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(8, 2)
        )
        self.noise = noise
        self.seen: dict[int, list[list[int]]] = defaultdict(list)
        self.estimate: float | None = None
        self.validated: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        if self.noise:  # draws from every global generator, which an exact resume must restore
            x = x + 0.1 * torch.rand(()) + 0.1 * random.random() + 0.1 * float(np.random.rand())  # noqa: NPY002
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def on_validation_epoch_start(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append((self.current_epoch, self.trainer.fit_loop.epoch_loop.batch_idx))

    def configure_optimizers(self) -> Any:
        self.estimate = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    def batches(self) -> list[int]:
        return [len(self.seen[epoch]) for epoch in sorted(self.seen)]


def selection(sizes: tuple[int, ...] = SIZES, n: int = N, **options: Any) -> DynamicSelection:
    """The callback with a random selection of these sizes."""
    return DynamicSelection(Random(), Sizes(sizes, n), **options)


def train_loader(n: int = N, **options: Any) -> DataLoader[Any]:
    return DataLoader(Indexed(n), **{"batch_size": BATCH, "shuffle": True, **options})


def relative_error(one: Tensor, two: Tensor) -> float:
    """By norm, which small entries with few right digits don't decide."""
    return float((one - two).norm() / two.norm())


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    defaults = {
        "max_epochs": 4,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(callbacks=list(callbacks), **{**defaults, **options})


def fit(
    *callbacks: pl.Callback,
    module: pl.LightningModule | None = None,
    loader: Any = None,
    val: bool = True,
    ckpt_path: Any = None,
    seed: int = 1,
    **options: Any,
) -> tuple[Any, pl.Trainer]:
    """Train from the same initial weights; returns module and Trainer."""
    pl.seed_everything(seed, verbose=False)
    module = Module() if module is None else module
    loader = train_loader() if loader is None else loader
    t = trainer(*callbacks, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
        t.fit(module, loader, DataLoader(Indexed(8), 4) if val else None, ckpt_path=ckpt_path)
    return module, t


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


class SaveEvery(pl.Callback):
    """A checkpoint after every training step (or at another hook), as `step=<global_step>.ckpt`."""

    def __init__(self, folder: Any, hook: str = "on_train_batch_end") -> None:
        self.folder, self.paths = folder, []
        setattr(self, hook, self._save)

    def _save(self, trainer: pl.Trainer, *args: Any) -> None:
        # Inside an accumulation window Lightning saves no gradients; nobody can resume exactly from there.
        if trainer.sanity_checking or trainer.fit_loop._should_accumulate():
            return
        path = self.folder / f"{len(self.paths):03d}.ckpt"
        trainer.save_checkpoint(path)
        self.paths.append(path)


def noisy() -> Module:
    """A module of fixed initial weights whose training draws from every global generator."""
    pl.seed_everything(4, verbose=False)
    return Module(noise=True)
