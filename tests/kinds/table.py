"""The table of kinds of training: what a kind is, and the modules that fill the table.

A kind is a small training as its users write it, with real libraries, models from small configurations, random weights
and no downloads. Selection and listening know nothing about it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dynsel.callbacks.listening.heard import Rule

# Samples and batch of a kind that says nothing else: half of 40 is two batches of 8 and one of 4.
N, BATCH = 40, 8

TOLD, LOSSES, ROWS, REDUCTIONS, NORM, BATCH_LOSS = Rule
EXACT = (LOSSES, ROWS, REDUCTIONS)

Step = Callable[[Any, Any], Any]
Truth = Callable[[Any, Any], Tensor]


class Module(pl.LightningModule):
    """A LightningModule of parts and a step.

    Args:
        step: Function of (module, batch): the `training_step`.
        lr: Learning rate.
        automatic: Whether Lightning calls `backward` and the optimiser.
        optimizers: Function of the module that gives what `configure_optimizers` returns; None = SGD over everything.
        parts: Submodules by name.
    """

    def __init__(
        self,
        step: Step,
        *,
        lr: float = 0.05,
        automatic: bool = True,
        optimizers: Callable[[Any], Any] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__()
        self.step, self.lr, self.optimizers_of = step, lr, optimizers
        self.automatic_optimization = automatic
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.net(*inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.step(self, batch)

    def configure_optimizers(self) -> Any:
        if self.optimizers_of is not None:
            return self.optimizers_of(self)
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], self.lr)


@dataclass
class Training:
    """A module and its loader, as a user would hand them to `Trainer.fit`.

    Args:
        module: The LightningModule.
        loader: The train loader, or a dict of loaders.
        dataset: What a selection chooses from; None = that of the loader.
        allowed: The indices that the user's sampler may yield; None = all.
        epoch: Samples that an epoch without selection trains on; None = as many as are allowed.
        collate: What makes a batch of samples; None = that of the loader.
        slack: By how many samples an epoch may differ from its share.
        skips: Batches of an epoch, by number, for which the step returns None.
        repeats: Whether the user's sampler yields a sample several times.
        part: What of a batch comes from the loader that is selected from.
        selection: Further arguments of `DynamicSelection`.
    """

    module: pl.LightningModule
    loader: Any
    dataset: Any = None
    allowed: list[int] | None = None
    epoch: int | None = None
    slack: float = 0.5
    skips: tuple[int, ...] = ()
    repeats: bool = False
    part: Callable[[Any], Any] = lambda batch: batch
    collate: Callable[[list[Any]], Any] | None = None
    selection: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dataset is None:
            self.dataset = self.loader.dataset
        if self.collate is None:
            self.collate = self.loader.collate_fn
        if self.allowed is None:
            self.allowed = list(range(len(self.dataset)))
        if self.epoch is None:
            self.epoch = len(self.allowed)

    @property
    def pool(self) -> list[int]:
        """What the selector chooses from: its sample k is the data set's sample `pool[k]`."""
        return sorted(self.allowed)


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Args:
        name: Name of the function that makes it.
        room: Module that it stands in.
        make: Builds the training from torch's global generator.
        rules: Rules of the chain that are right for it; the first is the one to be expected.
        hears: Words that the line about listening must have.
        truth: What a sample's loss is. "alone": the loss that the user's step gives for a batch of this sample only;
            a function of (module, batch): (B,) losses of this batch, called with the state of the random generators
            that the step finds; None: a sample has no loss of its own.
        least: Correlation with the truth that is asked for.
        replays: Whether collating the same indices again gives the same batch.
        needs: Libraries of the test extra.
        trainer: Further arguments of the Trainer.
        also: Selectors by short name that must train as well.
        ranks: Whether it is among those that run on two ranks.
        resumes: Whether it is among those that are resumed.
        classifies: Whether its loss is one cross entropy, whose logits must tell their entropy.
    """

    name: str
    room: str
    make: Callable[[], Training]
    rules: tuple[Rule, ...]
    hears: str = ""
    truth: Truth | Literal["alone"] | None = "alone"
    least: float = 0.99
    replays: bool = True
    needs: tuple[str, ...] = ()
    trainer: Callable[[], dict[str, Any]] = dict
    also: tuple[str, ...] = ()
    ranks: bool = False
    resumes: bool = False
    classifies: bool = False


KINDS: dict[str, Kind] = {}
ROOMS = (
    "classification",
    "regression",
    "sequences",
    "language",
    "dense",
    "detection",
    "contrastive",
    "generative",
    "graphs",
    "combined",
    "sums",
    "moved",
    "trainers",
    "loaders",
)


def kind(*rules: Rule, **row: Any) -> Callable[[Callable[[], Training]], Callable[[], Training]]:
    """Enter the function below into the table under its own name."""

    def enter(make: Callable[[], Training]) -> Callable[[], Training]:
        name = make.__name__
        assert name not in KINDS, f"two kinds are called {name}"
        KINDS[name] = Kind(name, make.__module__.rsplit(".", 1)[-1], make, rules, **row)
        return make

    return enter


def enter(name: str, module: str, make: Callable[[], Training], *rules: Rule, **row: Any) -> None:
    """Enter a kind whose function has no name of its own.

    Args:
        name: The kind's.
        module: The one that it stands in.
        make: Builds the training.
        rules: As for `kind`.
        row: Likewise.
    """
    make.__name__, make.__module__ = name, module
    kind(*rules, **row)(make)


def kinds() -> list[Kind]:
    """The whole table."""
    for room in ROOMS:
        importlib.import_module(f"kinds.{room}")
    return list(KINDS.values())


# ---------------------------------------------------------------- what many kinds are made of
def load(*columns: Any, batch_size: int = BATCH, **options: Any) -> DataLoader[Any]:
    """A shuffling loader of columns with one row per sample, or of a data set."""
    whole = columns[0] if len(columns) == 1 and isinstance(columns[0], Dataset | list) else TensorDataset(*columns)
    return DataLoader(whole, batch_size=batch_size, **{"shuffle": True, **options})


def mlp(inputs: int = 6, outputs: int = 3, width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


def convnet(channels: int = 3, outputs: int = 5, width: int = 8) -> nn.Sequential:
    """A classifier of small images."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, 2, 1),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )


def fully_convolutional(channels: int = 3, outputs: int = 4, width: int = 8) -> nn.Sequential:
    """One output a pixel."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, outputs, 3, padding=1))


def without_batch_norm(net: nn.Module) -> nn.Module:
    """Group instead of batch normalisation, in place: a sample's loss alone is then its loss in any batch."""
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(net, name, nn.GroupNorm(1, child.num_features))
        else:
            without_batch_norm(child)
    return net


def vectors(n: int = N, features: int = 6) -> Tensor:
    return torch.randn(n, features) * 1.5


def images(n: int = N, size: int = 16, channels: int = 3) -> Tensor:
    # Images of different brightness and contrast, so that their losses differ.
    return torch.randn(n, channels, size, size) * (0.5 + torch.rand(n, 1, 1, 1)) + torch.randn(n, channels, 1, 1)


def classes(n: int = N, count: int = 3) -> Tensor:
    return torch.randint(0, count, (n,))


@contextmanager
def generators_kept() -> Iterator[None]:
    """What draws from torch's, NumPy's and Python's generators leaves them as they were."""
    import random

    import numpy as np

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
