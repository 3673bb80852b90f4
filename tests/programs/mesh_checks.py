"""What test_mesh.py looks at: four processes without a Trainer, some of which share their samples."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from support import Indexed, Listening
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from dynsel.samplers import SelectionController
from dynsel.selectors import Selector

RANK, WORLD = 0, 1


def group() -> None:
    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=RANK, world_size=WORLD)


def wrapped(replicas: int, rank: int, selector: Selector | str = "random", n: int = 40) -> tuple[Any, Any]:
    """A selection of half the samples whose processes were seeded differently."""
    group()
    torch.manual_seed(RANK)
    selection = SelectionController(selector, keep_ratio=0.5, max_epochs=4, seed=3)
    loader = selection.wrap(DataLoader(Indexed(n), 5, shuffle=True), num_replicas=replicas, rank=rank)
    return selection, loader


def seen_of(loader: Any, epochs: int = 2) -> list[list[list[int]]]:
    seen = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        seen.append([batch[2].tolist() for batch in loader])
    return seen


# ---------------------------------------------------------------- processes that share their samples
def all_share(folder: Path) -> Any:
    """Tensor parallelism: one replica on four processes."""
    selection, loader = wrapped(1, 0)
    seen = seen_of(loader)
    selection.finish_epoch()
    return {"seen": seen, "usage": selection.selector.usage.tolist(), "trained": selection.books.samples_trained}


def mesh(folder: Path) -> Any:
    """Two replicas on two processes each; with batches as they come, and with a part of each."""
    result = {}
    for part in (False, True):
        selector = Listening()
        selection, loader = wrapped(2, RANK // 2, selector)
        loader.sampler.set_epoch(0)
        seen = []
        for step, (_, _, i) in enumerate(loader):
            kept = torch.tensor([0, 3])
            if part:
                selection.keep(step, kept, len(i))
            i = i[kept] if part else i
            seen.append(i.tolist())
            selection.observe(step, per_sample_loss=10.0 * i)
        selection.finish_epoch()
        [told] = selector.heard
        result[str(part)] = {
            "seen": seen,
            "usage": selector.usage.tolist(),
            "told": [told.indices.tolist(), told.per_sample_loss.tolist()],
        }
    return result


def random_states(folder: Path) -> Any:
    """Draws of each process after a step, and those of a run resumed there."""
    selection, loader = wrapped(2, RANK // 2)
    loader.sampler.set_epoch(0)
    batches = iter(loader)
    next(batches)
    state, wanted = selection.state_dict(), torch.rand(3).tolist()
    again, loader = wrapped(2, RANK // 2)
    again.load_state_dict(state)
    torch.manual_seed(100 + RANK)
    loader.sampler.set_epoch(0)
    next(iter(loader))
    return [wanted, torch.rand(3).tolist()]


# ---------------------------------------------------------------- samplers of the user's own
def own_samplers(folder: Path) -> Any:
    """Four ranks share out what a sampler yields that each of them seeded differently."""
    group()
    rare = [9.0] * 8 + [1.0] * 72
    samplers = {
        "fold": SubsetRandomSampler(range(10, 50)),
        "weighted": WeightedRandomSampler(rare, 80),
        "fewer": RandomSampler(range(80), num_samples=40),
    }
    result = {}
    for name, sampler in samplers.items():
        torch.manual_seed(RANK)
        selection = SelectionController("random", keep_ratio=0.5, max_epochs=3, seed=3)
        loader = DataLoader(Indexed(80), 5, sampler=sampler)
        loader = selection.wrap(loader, num_replicas=4, rank=RANK)
        seen = seen_of(loader, 3)
        selection.finish_epoch()
        result[name] = {"seen": seen, "usage": int(selection.selector.usage.sum())}
    return result


# ---------------------------------------------------------------- what travels
@contextmanager
def counting() -> Any:
    """Notes the bytes that arrive by each collective."""
    received: list[int] = []
    gather, objects = dist.all_gather, dist.all_gather_object

    def count(tensors: list[torch.Tensor], tensor: torch.Tensor, **options: Any) -> Any:
        received.append(sum(t.untyped_storage().nbytes() for t in tensors))
        return gather(tensors, tensor, **options)

    def count_objects(everyone: list[Any], value: Any, **options: Any) -> Any:
        objects(everyone, value, **options)
        received.append(sum(len(pickle.dumps(theirs)) for theirs in everyone))

    dist.all_gather, dist.all_gather_object = count, count_objects
    try:
        yield received
    finally:
        dist.all_gather, dist.all_gather_object = gather, objects


def feedback_bytes(folder: Path) -> Any:
    """Bytes that arrive at a process for each sample trained on, while an epoch's feedback is gathered."""
    result = []
    for part in (False, True):
        selection, loader = wrapped(4, RANK, Listening(), n=8000)
        loader.sampler.set_epoch(0)
        for step, (_, _, i) in enumerate(loader):
            if part:
                selection.keep(step, torch.arange(3), len(i))
            selection.observe(step, per_sample_loss=i.float()[: 3 if part else None])
        with counting() as received:
            selection.finish_epoch()
        result.append(sum(received) / selection.books.samples_trained)
    return result


CHECKS = {4: [all_share, mesh, random_states, own_samplers, feedback_bytes]}
