"""What the neighbour graph and its spectra cost, beside a matrix product, and how the graph grows with N.

    python recipes/benchmarks/graph.py            # graph of 50,000 × 64, growth at 10,000 and 100,000, Fiedler vectors
    python recipes/benchmarks/graph.py --large    # approximate growth to 1 million as well: minutes

Random features in 50 clusters. The graph is k nearest neighbours at three scales, fuzzy union and connection; the floor
is the bare product of the features with themselves, a block of rows at a time. Memory is by how much a step raised the
process's peak resident size. Fiedler vectors are compared with a loop of scipy's full `eigh`, the graph with
umap-learn's where that is installed.

Growth is measured on a curved surface of 12 dimensions in 64: features of networks fill few dimensions (ResNet-56's of
CIFAR-10 about 15), and no approximate search works without that. The exact search compares all pairs, so it grows as
N²; the approximate one (where faiss is installed) little faster than N. The column says by what power from one size to
the next (N log N is about N^1.09 here) and what share of the true neighbours 500 samples found.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.linalg
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dynsel.graph import connect, cosine_graphs, fiedler_vectors, fuzzy_graph, nearest_neighbours, spectral_embedding

SAMPLES, DIM, NEIGHBOURS, COLUMNS = 50_000, 64, 30, 16
GOAL_GRAPH = 20.0  # seconds on 2 cores
# An epoch of 50,000 samples: graphs, batch, goal in seconds. Up to 512 by LAPACK, beyond by Lanczos.
EPOCHS = [(196, 256, 2.0), (49, 1024, None)]
SIZES = [10_000, 100_000, 1_000_000]
ROUNDS = 5  # of the approximate graphs but the largest, whose median is told


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, rise of the peak resident size in MB, result."""
    before = peak_megabytes()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, peak_megabytes() - before, result


def peak_megabytes() -> float:
    """Linux counts in kilobytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def clusters(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(50, DIM, generator=generator)
    return centres[torch.randint(50, (count,), generator=generator)] + torch.randn(count, DIM, generator=generator)


def surface(count: int, seed: int, dim: int = 12, hidden: int = 128) -> Tensor:
    """Random clusters in few dimensions, bent into many by a random network."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(dim, hidden, generator=generator) / dim**0.5
    second = torch.randn(hidden, DIM, generator=generator) / hidden**0.5
    centres = 1.5 * torch.randn(50, dim, generator=generator)
    z = centres[torch.randint(50, (count,), generator=generator)] + torch.randn(count, dim, generator=generator)
    return torch.cat([torch.relu(rows @ first) @ second for rows in z.split(2**16)])


def recall(x: Tensor, found: Tensor, queries: int = 500) -> float:
    """Share of the true nearest neighbours among those found, (N, k)."""
    rows = torch.linspace(0, len(x) - 1, queries).long()
    true = torch.cdist(x[rows], x).scatter_(1, rows[:, None], torch.inf).topk(found.shape[1], largest=False).indices
    return (true[:, :, None] == found[rows][:, None, :]).any(2).float().mean().item()


def product(x: Tensor) -> None:
    buffer = torch.empty(1024, len(x))
    for rows in x.split(1024):
        torch.mm(rows, x.T, out=buffer[: len(rows)])


def make_graph(x: Tensor, approximate: bool = False) -> Any:
    return connect(fuzzy_graph(*nearest_neighbours(x, NEIGHBOURS, approximate=approximate)), x)[0]


def umap_graphs(x: Tensor, scales: tuple[int, ...] = (5, 15, 30)) -> list[Any]:
    """The same by umap-learn, which counts a sample among its neighbours; not joined over scales."""
    from umap.umap_ import fuzzy_simplicial_set, nearest_neighbors

    rows, random = x.numpy(), np.random.RandomState(0)
    found, near, _ = nearest_neighbors(rows, max(scales) + 1, "euclidean", {}, False, random)
    given = [{"knn_indices": found[:, : k + 1], "knn_dists": near[:, : k + 1]} for k in scales]
    return [fuzzy_simplicial_set(rows, k + 1, random, "euclidean", **g)[0] for k, g in zip(scales, given, strict=True)]


def verdict(seconds: float, goal: float) -> str:
    return f"{'met' if seconds <= goal else 'missed'}: {goal:g} s"


def measure_steps(seed: int) -> list[list[str]]:
    x = clusters(SAMPLES, seed)
    floor = timed(lambda: product(x))[0]
    search, memory, near = timed(lambda: nearest_neighbours(x, NEIGHBOURS))
    union, more, graph = timed(lambda: fuzzy_graph(*near))
    joining, still_more, (graph, parts) = timed(lambda: connect(graph, x))
    total = search + union + joining
    rows = [
        [
            "nearest neighbours",
            f"{search:.2f}",
            f"{search / floor:.2f} × product ({floor:.2f} s)",
            f"{memory:.0f} MB",
            "",
        ],
        ["fuzzy graph, 3 scales", f"{union:.2f}", f"{graph.nnz:,} edges", f"{more:.0f} MB", ""],
        ["connect", f"{joining:.2f}", f"{parts} parts", f"{still_more:.0f} MB", ""],
        ["whole graph", f"{total:.2f}", f"{total / floor:.2f} × product", "", verdict(total, GOAL_GRAPH)],
    ]
    if find_spec("umap"):
        umap_graphs(clusters(5000, seed))  # compiles
        took, memory, _ = timed(lambda: umap_graphs(x))
        rows.append(["umap-learn's graphs", f"{took:.2f}", f"{took / total:.2f} × ours", f"{memory:.0f} MB", ""])
    took, memory, _ = timed(lambda: spectral_embedding(graph, COLUMNS, seed))
    rows.append([f"spectral embedding, {COLUMNS} columns", f"{took:.2f}", "", f"{memory:.0f} MB", ""])
    return [[f"{SAMPLES:,} × {DIM}: {name}", *rest] for name, *rest in rows]


def measure_growth(sizes: list[int], approximate: bool, seed: int) -> list[list[str]]:
    rows, last = [], (0, 0.0)
    for size in sizes:
        x = surface(size, seed)
        rounds, memory = [], 0.0
        # A second of work is timed several times: what else the machine does would decide the power.
        for _ in range(ROUNDS if approximate and size < SIZES[-1] else 1):
            search, more, near = timed(lambda x=x: nearest_neighbours(x, NEIGHBOURS, approximate=approximate))
            join, still_more, _ = timed(lambda x=x, near=near: connect(fuzzy_graph(*near), x))
            rounds.append((search + join, search))
            memory += more + still_more
        took, search = sorted(rounds)[len(rounds) // 2]
        power = math.log(took / last[1]) / math.log(size / last[0]) if last[0] else math.nan
        beside = f"{took / size * 1e6:.0f} µs a sample, search {search / took:.0%}"
        beside += f", N^{power:.2f}" if last[0] else ""
        beside += f", {recall(x, near[1]):.1%} found" if approximate else ""
        kind = "approximate" if approximate else "exact"
        rows.append([f"{size:,} × {DIM}: whole graph, {kind}", f"{took:.2f}", beside, f"{memory:.0f} MB", ""])
        last = (size, took)
    return rows


def measure_fiedler(seed: int) -> list[list[str]]:
    rows = []
    for graphs, batch, goal in EPOCHS:
        x = clusters(graphs * batch, seed).view(graphs, batch, DIM) + 0.5
        took, memory, vectors = timed(lambda x=x: fiedler_vectors(cosine_graphs(x)))
        s = cosine_graphs(x).double().numpy()
        whole, _, theirs = timed(lambda s=s: np.stack([scipy.linalg.eigh(np.diag(w.sum(1)) - w)[1][:, 1] for w in s]))
        alike = float(np.abs((vectors.double().numpy() * theirs).sum(1)).min())
        beside = f"{took / whole:.2f} × scipy's loop ({whole:.2f} s), |cos| at least {alike:.6f}"
        met = "" if goal is None else verdict(took, goal)
        rows.append([f"{graphs} Fiedler vectors of {batch}", f"{took:.2f}", beside, f"{memory:.0f} MB", met])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="an approximate graph of 1 million samples as well")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make_graph(clusters(500, args.seed))  # what the libraries set up at their first call isn't ours
    if find_spec("faiss"):
        make_graph(clusters(500, args.seed), approximate=True)
    spectral_embedding(make_graph(clusters(1000, args.seed)), 2, args.seed)
    rows = measure_steps(args.seed) + measure_fiedler(args.seed)
    rows += measure_growth(SIZES[:2], False, args.seed)
    if find_spec("faiss"):
        rows += measure_growth(SIZES if args.large else SIZES[:2], True, args.seed)
    table = Table(title=f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {platform.processor()}")
    for name in ("work", "seconds", "beside", "peak", "goal"):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a file or pipe has no width of its own
    console.print(table)
    console.print(
        f"Python {platform.python_version()}, torch {torch.__version__}, seed {args.seed}, n = 1 "
        f"(approximate graphs of less than {SIZES[-1]:,}: median of {ROUNDS})"
    )


if __name__ == "__main__":
    main()
