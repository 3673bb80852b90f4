"""What sharded selection costs where there are hundreds of millions of samples: seconds, bytes, memory.

    python recipes/benchmarks/scale.py --n 10_000_000 --ranks 4     # gloo processes on this machine
    python recipes/benchmarks/scale.py --n 100_000_000 --ranks 4
    python recipes/benchmarks/scale.py --n 1_000_000_000 --part 64  # what one of 64 ranks has to do, alone

Epochs go through the real controller, only that no sample is read: choose, feed the order as batches of data set
indices, tell a number for every sample trained on, close the books, save and load the shards. With `--part` one process
does its share of the work without the others; sums are then its own, which takes as long. Printed are seconds of the
clock and of the processor for the slowest rank, bytes that a rank puts into reductions, state in bytes per sample, and
the memory at its peak above that of a process that has imported everything. The median epoch counts, after the first.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynsel import SelectionController
from dynsel._lib.provenance import hardware
from dynsel.samplers import ranks
from dynsel.selectors import Hybrid, LossRank, Random, Selector
from dynsel.selectors.shards import uniform_at

SELECTORS: dict[str, Callable[[], Selector]] = {
    "hybrid": Hybrid,
    "hybrid-loss": lambda: Hybrid(terms={"loss": 1.0}),
    "loss": LossRank,
    "random": Random,
}
PARTS = ("choose", "order", "told", "books")


class Unread(Dataset[Any]):
    """N samples of which none is read."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n


class Clock:
    """Seconds of the wall's clock and of the processor, by part of an epoch."""

    def __init__(self) -> None:
        self.spent = {part: np.zeros(2) for part in PARTS}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        start = np.array([time.perf_counter(), time.process_time()])
        result = work()
        self.spent[part] += np.array([time.perf_counter(), time.process_time()]) - start
        return result


def losses(places: Tensor, indices: list[int], epoch: int) -> Tensor:
    """What training would tell: log-normal numbers that fall from epoch to epoch."""
    uniform = torch.from_numpy(uniform_at(np.asarray(indices), 7))
    return torch.exp(torch.special.ndtri(uniform.double()) - 0.2 * epoch).float()


def run_epoch(selection: SelectionController, epoch: int, clock: Clock) -> None:
    """Choose, feed, tell and count one epoch, without any training."""
    clock("choose", lambda: selection.ensure_epoch(epoch))
    sampler = selection.sampler
    sampler.stage.start(0)
    batches = iter(sampler.batches())
    for number in range(sampler.num_batches()):
        indices = clock("order", lambda: next(batches))
        sampler.stage.deliver()
        value = losses(sampler.part.batch(number), indices, epoch)
        told = {"per_sample_loss": value, "value": value}
        clock("told", lambda number=number, told=told: selection.observe(number, **told))
    clock("books", selection.finish_epoch)


def work(options: argparse.Namespace, rank: int, answers: Any) -> None:
    """One rank: its epochs, what they took, and a checkpoint of the shards."""
    torch.set_num_threads(1)
    world, part = options.ranks, options.part
    if world > 1:
        dist.init_process_group("gloo", rank=rank, world_size=world)
    if part > 1:
        # The share of one of many, which finds nobody to talk to.
        ranks.num_ranks = lambda: 1
        import dynsel.samplers.sharding

        dynsel.samplers.sharding.num_ranks = lambda: part
    bare = memory()
    selection = SelectionController(
        SELECTORS[options.selector](), options.keep_ratio, max_epochs=options.epochs, seed=0, sharded=options.shards
    )
    loader = DataLoader(Unread(options.n), batch_size=options.batch_size, shuffle=True)
    selection.wrap(loader, num_replicas=max(world, part), rank=rank)
    reduce: Any = selection.selector.population.reduce  # type: ignore[attr-defined]
    rows = []
    for epoch in range(options.epochs):
        clock, bytes_before, calls_before = Clock(), reduce.bytes, reduce.calls
        run_epoch(selection, epoch, clock)
        rows.append({**clock.spent, "bytes": reduce.bytes - bytes_before, "calls": reduce.calls - calls_before})
    answer = {"rows": rows, "peak": memory() - bare, "bare": bare, "own": selection.selector.num_samples}
    answer |= {"state": held(selection), "saved": checkpoint(options, selection, Path(options.folder))}
    answers.put((rank, answer))
    if world > 1:
        dist.barrier()


def memory() -> int:
    """Most bytes of memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held(selection: SelectionController) -> float:
    """Bytes per sample of this rank that stay from epoch to epoch: the selector's state and the mask."""
    tensors = [v for k, v in selection.selector.state_dict().items() if k not in ("generator", "made_by")]
    mask: Any = selection.sampler._order.mask  # type: ignore[attr-defined]
    return (sum(t.nbytes for t in tensors) + mask.nbytes) / selection.selector.num_samples


def checkpoint(options: argparse.Namespace, selection: SelectionController, folder: Path) -> tuple[float, float]:
    """Seconds that writing this rank's shards takes, and bytes per sample of it on disk."""
    start = time.perf_counter()
    selection.state_dict()
    selection.write_shards(folder)
    seconds = time.perf_counter() - start
    own = {f"shard-{c:05d}.safetensors" for c in selection.sampler.whole.shards.own}  # type: ignore[attr-defined]
    size = sum(path.stat().st_size for path in folder.glob("*/*") if path.name in own)
    return seconds, size / selection.selector.num_samples


def start(options: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """Run all ranks; what each found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    context = mp.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=work, args=(options, rank, answers)) for rank in range(options.ranks)]
    for process in processes:
        process.start()
    found = dict(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return found


def report(options: argparse.Namespace, found: dict[int, dict[str, Any]]) -> str:
    """What was measured, of the slowest rank, as a row of docs/scale.md and in words."""
    later = range(1 if options.epochs > 1 else 0, options.epochs)

    def seconds(part: str, which: int) -> float:
        return max(statistics.median(rank["rows"][e][part][which] for e in later) for rank in found.values())

    first = found[0]
    lines = [f"{part:8s}{seconds(part, 0):9.2f} s clock {seconds(part, 1):9.2f} s processor" for part in PARTS]
    traffic = max(first["rows"][e]["bytes"] for e in later), max(first["rows"][e]["calls"] for e in later)
    peak = max(rank["peak"] for rank in found.values())
    lines += [
        f"first epoch: choose {first['rows'][0]['choose'][0]:.2f} s",
        f"reductions a rank, an epoch: {traffic[1]}, {traffic[0] / 1024:.0f} KiB",
        f"samples a rank: {first['own']:,}; state {first['state']:.2f} bytes/sample",
        f"memory at its peak: {peak / 1e6:.0f} MB above {first['bare'] / 1e6:.0f} MB of a bare process",
        f"shards saved: {max(rank['saved'][0] for rank in found.values()):.2f} s, {first['saved'][1]:.2f} bytes/sample",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a sharded selection, per epoch.")
    parser.add_argument("--n", type=int, default=1_000_000, help="number of samples, N")
    parser.add_argument("--ranks", type=int, default=1, help="gloo processes on this machine")
    parser.add_argument("--part", type=int, default=1, help="the share of one of so many ranks, in one process")
    parser.add_argument("--shards", type=int, default=64, help="number of canonical shards, C")
    parser.add_argument("--selector", choices=list(SELECTORS), default="hybrid")
    parser.add_argument("--keep_ratio", type=float, default=0.5)
    parser.add_argument("--batch_size", type=int, default=1024, help="samples in a batch of one rank")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    if options.part > 1 and options.ranks > 1:
        parser.error("give --ranks or --part")
    load = os.getloadavg()[0]
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    print(f"{datetime.now(UTC):%Y-%m-%d}; {hardware()}; {versions}; load {load:.1f}")
    print(" ".join(f"{name}={value}" for name, value in vars(options).items()))
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder
        found = start(options)
    print(report(options, found))


if __name__ == "__main__":
    main()
