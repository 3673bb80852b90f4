"""What characteristic functions cost: the witness beside a matrix product, and how the sums grow with N.

    python recipes/benchmarks/cfd.py            # witness at 50,000 × 64 × 1,024; sums at 10,000 and 100,000
    python recipes/benchmarks/cfd.py --large    # sums at 1 million as well

Random features, medians of several runs. The floor is the bare matrix product features × frequencies, whose result
is the 50,000 × 1,024 angles all at once (205 MB); the witness holds a block of them at a time. Memory is by how much
the call raised the process's peak resident size (`ru_maxrss`), measured before anything larger ran; what making the
data needed for a moment hides as much of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, witness

SAMPLES, DIM, FREQUENCIES = 50_000, 64, 1024
GOAL = 0.5  # seconds
SIZES, GROWTH_FREQUENCIES = [10_000, 100_000, 1_000_000], 256


def seconds(work: Callable[[], Any], times: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    work()
    return statistics.median(once() for _ in range(times))


def peak_bytes() -> int:
    """Peak resident size of this process; Linux counts in kilobytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def random_set(count: int, frequencies: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, DIM, generator=generator)
    return features, gaussian_frequencies(frequencies, DIM, median_scale(features, generator), generator)


def measure_witness(times: int, seed: int) -> dict[str, str]:
    features, frequencies = random_set(SAMPLES, FREQUENCIES, seed)
    generator = torch.Generator().manual_seed(seed)
    gap = torch.complex(*torch.randn(2, FREQUENCIES, generator=generator, dtype=torch.float64))
    witness(features[:2], frequencies, gap)  # what the libraries set up at their first call isn't ours
    before = peak_bytes()
    took = seconds(lambda: witness(features, frequencies, gap), times)
    rise = peak_bytes() - before
    floor = seconds(lambda: features @ frequencies.T, times)
    return {
        "work": f"witness {SAMPLES:,} × {DIM} × {FREQUENCIES:,}",
        "seconds": f"{took:.3f}",
        "beside": f"{took / floor:.2f} × matrix product ({floor:.3f} s)",
        "peak": f"{rise / 1e6:.0f} MB",
        "goal": f"{'met' if took <= GOAL else 'missed'}: {GOAL} s",
    }


def measure_growth(sizes: list[int], times: int, seed: int) -> list[dict[str, str]]:
    rows, first = [], 0.0
    for size in sizes:
        features, frequencies = random_set(size, GROWTH_FREQUENCIES, seed)
        characteristic_sums(features[:2], frequencies)
        before = peak_bytes()
        took = seconds(lambda x=features, t=frequencies: characteristic_sums(x, t), times)
        each = took / size
        first = first or each
        rows.append(
            {
                "work": f"sums {size:,} × {DIM} × {GROWTH_FREQUENCIES}",
                "seconds": f"{took:.3f}",
                "beside": f"{each * 1e6:.2f} µs a sample, {each / first:.2f} × that of {sizes[0]:,}",
                "peak": f"{(peak_bytes() - before) / 1e6:.0f} MB",
                "goal": "linear",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="sums of 1 million samples as well")
    parser.add_argument("--times", type=int, default=5, help="runs of each, of which the median is printed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = [measure_witness(args.times, args.seed)]
    rows += measure_growth(SIZES if args.large else SIZES[:2], args.times, args.seed)
    table = Table(title=f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {platform.processor()}")
    for name in rows[0]:
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for row in rows:
        table.add_row(*row.values())
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    console.print(f"Python {platform.python_version()}, torch {torch.__version__}, seed {args.seed}, n = {args.times}")


if __name__ == "__main__":
    main()
