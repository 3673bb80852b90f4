"""Loops by hand and by Fabric; what engines/test_fabric.py and samplers/test_controller.py look at."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from lightning.fabric.utilities.seed import seed_everything
from support import Sizes, same_weights, train_loader
from torch import Tensor, nn

from dynsel.samplers import SelectionController
from dynsel.schedules import Constant
from dynsel.selectors import Full, Random, Selector

RANK, WORLD = 0, 1
SIZES = (12, 40, 20, 8)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def controller(
    sizes: tuple[int, ...] = SIZES, selector: Selector | None = None, ratio: Any = None
) -> SelectionController:
    return SelectionController(
        Random() if selector is None else selector, Sizes(sizes) if ratio is None else ratio, max_epochs=len(sizes)
    )


def loss_of(net: nn.Module, batch: Any) -> Tensor:
    x, y, _ = batch
    # Draws from every global generator, which an exact resume must restore.
    return F.cross_entropy(net(x + 0.1 * random.random() + 0.1 * float(np.random.rand())), y)  # noqa: NPY002


class Run:
    """One training, by Fabric or, with `fabric=None`, by hand."""

    def __init__(self, selection: SelectionController | None, fabric: Fabric | None, seed: int = 1, **options: Any):
        seed_everything(seed, verbose=False)
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        self.selection, self.fabric = selection, fabric
        loader = train_loader(**options)
        self.loader: Any = loader if selection is None else selection.wrap(loader)
        self.net, self.optimizer = net, optimizer
        if fabric is not None:
            self.net, self.optimizer = fabric.setup(net, optimizer)
            self.loader = fabric.setup_dataloaders(self.loader)
        self.seen: list[list[list[int]]] = []
        self.known: list[list[list[int]]] = []
        self.orders: list[list[int]] = []

    def state(self) -> dict[str, Any]:
        return {"net": self.net, "optimizer": self.optimizer, "selection": self.selection}

    def train(self, epochs: int, start: int = 0, *, force: bool = False, after_step: Callable[[], None] | None = None):
        """The user's loop. Fabric sets the epoch by itself; `force` says it explicitly, as after a resume."""
        for epoch in range(start, epochs):
            if self.selection is not None and force:
                self.selection.set_epoch(epoch)
            elif self.selection is not None and self.fabric is None:
                self.loader.sampler.set_epoch(epoch)
            self.seen.append([])
            for batch in self.loader:
                self.seen[-1].append(batch[2].tolist())
                loss = loss_of(self.net, batch)
                self.optimizer.zero_grad()
                loss.backward() if self.fabric is None else self.fabric.backward(loss)
                self.optimizer.step()
                if after_step is not None:
                    after_step()
            if self.selection is not None:
                sampler = self.selection.sampler
                self.known.append([self.selection.indices(b).tolist() for b in range(sampler.num_batches())])
                self.orders.append(sampler.draw().tolist())
        if self.selection is not None:
            self.selection.finish_epoch()
        return self


def fabric_now() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=WORLD, strategy="auto" if WORLD == 1 else "ddp")
    fabric.launch()
    return fabric


def without_set_epoch(folder: Path) -> Any:
    selection = controller()
    run = Run(selection, fabric_now()).train(4)
    return {
        "seen": run.seen,
        "known": run.known,
        "orders": run.orders,
        "usage": selection.selector.usage.tolist(),
        "epochs": [record.epoch for record in selection.history],
        "sampler": type(run.loader.sampler).__name__,
    }


def full_equals_plain(folder: Path) -> dict[str, Any]:
    def run(selection: SelectionController | None, shuffle: bool) -> Run:
        return Run(selection, fabric_now(), shuffle=shuffle).train(3)

    result = {}
    for shuffle in (True, False):
        plain = run(None, shuffle)
        whole = run(controller((40,) * 3, Full(), Constant(1.0)), shuffle)
        result[f"shuffle={shuffle}"] = [plain.seen, whole.seen, same_weights(plain.net, whole.net)]
    return result


def resume_sweep(folder: Path) -> list[str]:
    """Number of the checkpoints, then those from which the resumed run ended differently."""
    fabric = fabric_now()
    paths: list[Path] = []
    sizes = (20, 13, 40)
    whole = Run(controller(sizes), fabric, seed=1 + 10 * RANK)

    def save() -> None:
        paths.append(folder / f"{WORLD}-{len(paths):03d}.ckpt")
        fabric.save(paths[-1], whole.state())

    whole.train(3, after_step=save)
    different = []
    for path in paths:
        selection = controller(sizes)
        # Another seed: what the checkpoint doesn't restore must not come out right by chance.
        again = Run(selection, fabric, seed=2 + 10 * RANK)
        fabric.load(path, again.state())
        again.train(3, start=selection.epoch, force=True)
        if not same_weights(whole.net, again.net):
            different.append(path.name)
    return [str(len(paths)), *different]


CHECKS = {2: [without_set_epoch, full_equals_plain, resume_sweep]}
