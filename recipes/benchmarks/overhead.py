"""What choosing the samples costs: milliseconds an epoch, and bytes of state a sample.

    python recipes/benchmarks/overhead.py            # 50,000 samples in 10 classes
    python recipes/benchmarks/overhead.py --large    # and 10 million in 1,000 classes
    python recipes/benchmarks/overhead.py --n 1281167 --classes 1000

Epochs go through the real controller and loader, only that no sample is read: choose, put in order, count what was
trained on, close the books. Printed are medians over the epochs. What the loader's own sampler takes for its order
any training pays; `overhead` is all that comes on top: choosing, books, and what our order takes longer. Beside it
stands one `torch.topk` of half of as many numbers. RRD's scores are given, since its fit is done once. Fitting,
reading and training are no part of this; `efficiency.py` measures whole epochs.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import dynsel
from dynsel import SelectionController
from dynsel._lib.provenance import hardware
from dynsel.selectors import RRD, Random, Selector

MILLION = 1_000_000
# Milliseconds an epoch up to so many samples, and bytes a sample.
GOALS = {50_000: 5.0, 10 * MILLION: 2_000.0}
BYTES_GOAL = 16.0


class Labelled(Dataset[Any]):
    """N samples that have a label and nothing to read."""

    def __init__(self, n: int, classes: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.randint(classes, (n,), generator=generator)

    def __len__(self) -> int:
        return len(self.targets)


class ScoredRRD(RRD):
    """RRD whose scores are given."""

    needs_features = False

    def prepare(self) -> None:
        self.representativeness = torch.rand(self.num_samples, generator=self.generator)
        self.rarity = torch.rand(self.num_samples, generator=self.generator)


SELECTORS: dict[str, Callable[[], Selector]] = {
    "Random()": Random,
    "Random(class_balance=True)": lambda: Random(class_balance=True),
    "RRD(class_balance=True)": lambda: ScoredRRD(class_balance=True),
}


def milliseconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def median_milliseconds(work: Callable[[], Any], times: int) -> float:
    work()
    return statistics.median(milliseconds(work) for _ in range(times))


def measure(
    selector: Selector, data: Labelled, epochs: int, keep_ratio: float, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median milliseconds of each part of an epoch, and bytes per sample of state by name."""
    controller = SelectionController(selector, keep_ratio, max_epochs=epochs + 1, seed=seed)
    plain = DataLoader(data, batch_size=256, shuffle=True)
    controller.wrap(plain)
    sampler = controller.sampler

    def order() -> None:
        assert len(sampler.part.order)

    def books() -> None:
        sampler.stage.deliver(sampler.num_batches())
        controller.finish_epoch()

    rows = []
    for epoch in range(epochs + 1):
        row = {"select": milliseconds(partial(controller.ensure_epoch, epoch))}
        row |= {"order": milliseconds(order), "books": milliseconds(books)}
        # Within the epoch, so that whatever else the machine does weighs on both alike.
        row["plain order"] = milliseconds(lambda: list(plain.sampler))
        row["overhead"] = row["select"] + row["books"] + max(0.0, row["order"] - row["plain order"])
        rows.append(row)
    assert int(selector.usage.sum()) == controller.books.samples_trained > 0, "the books must hold every sample fed"
    # The first epoch warms up.
    times = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}
    return times, state_sizes(controller)


def state_sizes(controller: SelectionController) -> dict[str, float]:
    """Bytes a sample of every tensor held between epochs, by name; without the order of the running epoch."""
    owners = (controller.selector, controller.sampler, controller)
    held = {name: value for owner in owners for name, value in vars(owner).items() if isinstance(value, Tensor)}
    storages: dict[int, str] = {}
    for name, value in held.items():
        if name not in ("_order", "_local"):
            storages.setdefault(value.data_ptr(), name)
    return {
        f"{name.lstrip('_')} {str(held[name].dtype).removeprefix('torch.')}": held[name].nbytes
        / controller.sampler.num_total
        for name in storages.values()
    }


def report(n: int, classes: int, epochs: int, keep_ratio: float, seed: int, console: Console) -> None:
    """Measure all selectors on one size and print their table."""
    data = Labelled(n, classes, seed)
    numbers = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    top_k = median_milliseconds(lambda: torch.topk(numbers, n // 2), epochs)
    goal = next((ms for size, ms in GOALS.items() if n <= size), None)
    table = Table(
        "selector", "select", "order", "plain order", "books", "overhead", "x topk", "bytes/sample", "state",
        title=f"N = {n:,}, C = {classes:,}, keep ratio {keep_ratio}: ms an epoch",
        caption=f"goal: overhead <= {goal} ms, state <= {BYTES_GOAL:g} bytes/sample" if goal else None,
    )  # fmt: skip
    for name, build in SELECTORS.items():
        times, state = measure(build(), data, epochs, keep_ratio, seed)
        overhead = times["overhead"]
        table.add_row(
            name,
            *(f"{times[part]:.2f}" for part in ("select", "order", "plain order", "books")),
            f"[{colour(overhead, goal)}]{overhead:.2f}",
            f"{overhead / top_k:.2f}",
            f"[{colour(sum(state.values()), BYTES_GOAL)}]{sum(state.values()):.2f}",
            ", ".join(f"{key} {size:g}" for key, size in state.items()),
        )
    console.print(table)
    console.print(f"torch.topk(N, N/2): {top_k:.2f} ms\n")


def colour(value: float, goal: float | None) -> str:
    return "default" if goal is None else "green" if value <= goal else "red"


def machine() -> str:
    """Processor, threads and versions; and what else runs, for nothing can be timed on a busy machine."""
    return (
        f"{hardware()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}, dynsel {dynsel.__version__}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and state of a selection, per epoch.")
    parser.add_argument("--n", type=int, default=50_000, help="number of samples")
    parser.add_argument("--classes", type=int, default=10, help="number of classes")
    parser.add_argument("--large", action="store_true", help="also 10 million samples in 1,000 classes")
    parser.add_argument("--epochs", type=int, default=20, help="epochs to take the median over (--large: a quarter)")
    parser.add_argument("--keep_ratio", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(f"{machine()}\nseed {options.seed}, median of {options.epochs} epochs after one to warm up\n")
    report(options.n, options.classes, options.epochs, options.keep_ratio, options.seed, console)
    if options.large:
        report(10 * MILLION, 1_000, max(3, options.epochs // 4), options.keep_ratio, options.seed, console)


if __name__ == "__main__":
    main()
