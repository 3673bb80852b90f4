"""What test_sharded.py looks at, as each rank saw it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from support import Module, SaveEvery, Sizes, fit, same_weights, train_loader
from torch import Tensor

from dynsel.callbacks import DynamicSelection
from dynsel.selectors import Hybrid, LossRank

RANK, WORLD = 0, 1
SIZE, GLOBAL_BATCH, EPOCHS = 122, 12, 3


class Still(Module):
    """Does not learn, so that what it tells of a sample is the same on any number of ranks."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        # Another difficulty every epoch, so that selections change.
        logits = self(x * (1 + (i[:, None] * (self.current_epoch + 1)) % 7))
        return F.cross_entropy(logits, y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


def make(kind: str) -> DynamicSelection:
    if kind == "rounds":
        return DynamicSelection(Hybrid(class_balance=True), sharded=8)
    return DynamicSelection(LossRank(gamma=0.3), Sizes((60, 40, 122), SIZE), sharded=8)


def train(kind: str, *callbacks: Any, module: Any = None, drop_last: bool = False, **options: Any) -> tuple[Any, Any]:
    """What this rank saw, and the module."""
    chosen = make(kind)
    torch.manual_seed(4)  # the same weights wherever it is run
    module, trainer = fit(
        chosen,
        *callbacks,
        module=Still() if module is None else module,
        loader=train_loader(SIZE, batch_size=GLOBAL_BATCH // WORLD, drop_last=drop_last),
        **{"devices": WORLD, "strategy": "ddp" if WORLD > 1 else "auto", "max_epochs": EPOCHS, "val": False, **options},
    )
    sampler, selector = chosen.controller.sampler, chosen.selector
    own = sampler.whole.dataset_indices(torch.arange(selector.num_samples)).tolist()
    found = {
        "seen": [module.seen[epoch] for epoch in sorted(module.seen)],
        "steps": trainer.global_step,
        "usage": dict(zip(own, selector.usage.tolist(), strict=True)),
        "records": [[r.keep_ratio, r.coverage, r.usage_gini, r.samples_trained] for r in chosen.history],
    }
    return found, module


KINDS = ("rounds", "shorter")


def whole(folder: Path) -> Any:
    """Uninterrupted runs, which leave a checkpoint of every step."""
    return {kind: train(kind, SaveEvery(folder / f"{WORLD}-{kind}"))[0] for kind in KINDS}


def resumed(folder: Path) -> Any:
    """Continue what the other number of ranks left."""
    other = 3 - WORLD
    return {
        kind: {
            path.name: train(kind, ckpt_path=path)[0]
            for path in sorted((folder / f"{other}-{kind}").glob("*.ckpt"))[::4]
        }
        for kind in KINDS
    }


def exact(folder: Path) -> Any:
    """Names of the checkpoints from which a model that learns went on differently, on as many ranks."""
    saver = SaveEvery(folder / f"{WORLD}-exact")
    seen, module = train("rounds", saver, module=Module(noise=True))
    different = []
    for path in saver.paths[::7]:
        again, resumed = train("rounds", ckpt_path=path, module=Module(noise=True))
        if not same_weights(module, resumed) or again["usage"] != seen["usage"]:
            different.append(path.name)
    return [len(saver.paths), different]


def files(folder: Path) -> Any:
    """What is beside the checkpoints that stay, and the shards' own account of a save."""
    place = folder / f"{WORLD}-files"
    if WORLD == 1:
        shutil.rmtree(place, ignore_errors=True)  # one rank comes twice
    keep = pl.callbacks.ModelCheckpoint(place, save_top_k=1, save_last="link", every_n_epochs=1)
    train("rounds", keep, max_epochs=2, enable_checkpointing=True)
    saves = {path.name: sorted(p.name for p in path.glob("*/*")) for path in place.glob("*.dynsel")}
    number = {path.name: len(list(path.glob("*"))) for path in place.glob("*.dynsel")}
    again = train("rounds", ckpt_path=place / "last.ckpt")[0]
    return {
        "checkpoints": sorted(path.name for path in place.glob("*.ckpt")),
        "saves": saves,
        "number": number,
        "epochs": len(again["seen"]),
    }


def refused(folder: Path) -> Any:
    """What is said where a checkpoint has lost its shards, on every rank."""
    path = next(iter(sorted((folder / f"{WORLD}-rounds").glob("*.ckpt"))))
    alone = folder / f"{WORLD}-alone.ckpt"
    if RANK == 0:
        alone.write_bytes(path.read_bytes())
    torch.distributed.barrier() if torch.distributed.is_initialized() else None
    try:
        train("rounds", ckpt_path=alone)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


CHECKS = {1: [whole, resumed, exact, files, refused], 2: [whole, resumed, exact, files, refused]}
