"""Trainings by Hugging Face accelerate, and the same by hand; what engines/test_accelerate.py looks at."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support import Sizes, same_weights, train_loader
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from dynsel.samplers import SelectionController
from dynsel.schedules import Constant
from dynsel.selectors import Full, Random

RANK, WORLD = 0, 1
SIZES = (12, 40, 20, 8)


def accelerator(accumulate: int = 1) -> Any:
    from accelerate import Accelerator

    if WORLD > 1:
        os.environ["RANK"] = str(RANK)
    return Accelerator(cpu=True, gradient_accumulation_steps=accumulate)


def seed() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


class Run:
    """One training by accelerate; of everything if there is no selection."""

    def __init__(self, selection: SelectionController | None, accumulate: int = 1, **options: Any) -> None:
        seed()
        self.accelerator = accelerator(accumulate)
        self.selection = selection
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        loader = train_loader(**options)
        if selection is not None:
            loader = selection.wrap(loader, accelerator=self.accelerator)
            self.accelerator.register_for_checkpointing(selection)
        self.net, self.optimizer, self.loader = self.accelerator.prepare(net, optimizer, loader)
        self.seen: list[list[list[int]]] = []
        self.known: list[list[list[int]]] = []
        self.steps = 0

    def train(self, epochs: int, start: int = 0, after_step: Callable[[], None] = lambda: None) -> Run:
        for _ in range(start, epochs):
            self.seen.append([])
            self.known.append([])
            first = 0 if self.selection is None else None
            for step, (x, y, i) in enumerate(self.loader):
                if first is None:
                    first = self.loader.sampler.first_batch
                with self.accelerator.accumulate(self.net):
                    losses = F.cross_entropy(self.net(x + 0.1 * torch.rand(())), y, reduction="none")
                    self.accelerator.backward(losses.mean())
                    self.optimizer.step()
                    self.steps += self.accelerator.sync_gradients
                    self.optimizer.zero_grad()
                self.seen[-1].append(i.tolist())
                if self.selection is not None:
                    self.known[-1].append(self.selection.indices(first + step).tolist())
                    self.selection.observe(first + step, per_sample_loss=losses)
                after_step()
        if self.selection is not None:
            self.selection.finish_epoch()
        return self

    @property
    def weights(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.net)


def controller(sizes: tuple[int, ...] = SIZES, **options: Any) -> SelectionController:
    return SelectionController(Random(), Sizes(sizes), max_epochs=len(sizes), seed=3, **options)


def selected(folder: Path | None) -> Any:
    """What was trained on and what the books hold, with gradients accumulated over two batches."""
    selection = controller()
    run = Run(selection, accumulate=2).train(4)
    return {
        "seen": run.seen,
        "known": run.known,
        "steps": run.steps,
        "usage": selection.selector.usage.tolist(),
        "epochs": [record.epoch for record in selection.history],
        "trained": [record.samples_trained for record in selection.history],
        "device": str(next(run.net.parameters()).device),
    }


def all_is_plain(folder: Path | None) -> Any:
    """Whether all data give the weights of a training without dynsel: accelerate's own, or on two processes DDP's."""
    result = []
    for selector, ratio in ((Full(), Constant(0.1)), (Random(), Constant(1.0))):
        ours = Run(SelectionController(selector, ratio, max_epochs=3, seed=3)).train(3)
        seen, weights = by_hand(3) if WORLD > 1 else by_accelerate(3)
        result.append([ours.seen == seen, same_weights(ours.weights, weights)])
    return result


def by_accelerate(epochs: int) -> tuple[Any, nn.Module]:
    run = Run(None).train(epochs)
    return run.seen, run.weights


def by_hand(epochs: int) -> tuple[Any, nn.Module]:
    """DistributedSampler and DDP, as torch's own tutorial has them."""
    seed()
    net = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    data = train_loader().dataset
    loader = train_loader(shuffle=False, sampler=DistributedSampler(data, seed=3))  # type: ignore[arg-type]
    seen: list[list[list[int]]] = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen.append([])
        for x, y, i in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x + 0.1 * torch.rand(())), y).backward()
            optimizer.step()
            seen[-1].append(i.tolist())
    return seen, net.module


def resumed(folder: Path) -> Any:
    """Steps after which a run that accelerate saved and loaded doesn't go on as it would have."""
    sizes, states = (20, 12, 28), []
    selection = controller(sizes)
    whole = Run(selection)

    def save() -> None:
        path = folder / f"state-{WORLD}-{len(states)}"
        whole.accelerator.save_state(str(path))
        states.append((selection.epoch, path))

    whole.train(3, after_step=save)
    flat, different = [batch for epoch in whole.seen for batch in epoch], []
    for step, (epoch, path) in enumerate(states):
        again = Run(controller(sizes))
        again.accelerator.load_state(str(path))
        # The user's loop begins with the epoch that was saved; one that was over goes on with the next.
        over = again.loader.sampler.first_batch >= again.loader.sampler.num_batches()
        again.train(3, start=epoch + over)
        rest = [batch for epoch in again.seen for batch in epoch]
        if rest != flat[step + 1 :] or not same_weights(whole.weights, again.weights):
            different.append(step)
    return [len(states), different]


def finish(folder: Path | None) -> None:
    if dist.is_initialized():
        dist.barrier()


CHECKS = {2: [selected, all_is_plain, resumed, finish]}
