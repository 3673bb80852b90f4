"""What an epoch of the selector `geometry` costs, by part, after features moved a little.

    python recipes/benchmarks/geometry.py                       # 50,000 × 64
    python recipes/benchmarks/geometry.py --samples 10000 100000 1000000

One thread of a virtual AMD EPYC of two cores, torch 2.14.1, float32, seed 0, n = 1, 2026-11-29. The machine was busy
(load 15, 13 s of wall-clock time), so these are seconds of the process: about what one thread takes that has a core to
itself. On both threads of another AMD EPYC, without AVX-512 and half as fast, an epoch of 50,000 samples takes 3.2 s
of wall-clock time, where 3 were the goal, and all parts of 100,000 take 6.6 s (2026-11-30, n = 1).

| work | 10,000 × 64 | 50,000 × 64 | nearly, of 50,000 |
|---|---:|---:|---|
| autoencoder, 24 steps | 0.20 | 0.25 | |
| codes of all samples | 0.03 | 0.18 | |
| rarity | 0.01 | 0.04 | |
| neighbours | 0.12 | 0.85 | 89.1 % found, before 85.7 % |
| graph | 0.04 | 0.22 | |
| eigenvectors | 0.05 | 0.33 | 0.1250, exact 0.1250 in 2.7 s |
| boundary | 0.00 | 0.02 | |
| region | 0.00 | 0.01 | |
| witness, 256 frequencies | 0.06 | 0.24 | |
| all parts | 0.52 | 2.15 | |
| an epoch of the selector | 0.51 | 2.02 | first fit 6.2 s |

Twelve moves one after the other, of 10,000 samples: 90 % of the neighbours are still found at the end, of those never
looked for again 70 %; with moves three times as long 64 and 20 %.

Features lie on a curved surface of 12 dimensions, in ten classes by their place there, and move by a tenth of the
distance to the nearest neighbour from one epoch to the next. "nearly" says how near the quick ways come: of the true
ten neighbours of 500 samples the share that is found, and that of the neighbours before the move; the mean Rayleigh
quotient of the eigenvectors beside that of the exact ones, with what these cost, which is left out beyond 50,000.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dynsel.graph import connect, fuzzy_graph, improve_neighbours, laplacian, nearest_neighbours, spectral_embedding
from dynsel.sae import encode, fit_sae, train_again
from dynsel.selectors import Feedback, Geometry
from dynsel.selectors.factors import factor_scores
from dynsel.selectors.terms import Witness
from dynsel.selectors.terms.base import Material
from dynsel.selectors.terms.boundary import Boundary
from dynsel.selectors.terms.region import Region

DIM, K, COLUMNS = 64, 10, 16
GOAL = 3.0  # seconds an epoch of 50,000 samples on two cores
LANCZOS = 50_000


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and process seconds, result."""
    wall, process = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - process, result


def surface(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    place = torch.randn(count, 12, generator=generator)
    x = (place @ torch.randn(12, DIM, generator=generator) * 0.5).sin()
    return x + 0.05 * torch.randn(count, DIM, generator=generator), (place[:, 0] * 3).long() % 10


def recall(x: Tensor, found: Tensor) -> float:
    some = torch.arange(0, len(x), -(-len(x) // 500))
    apart = torch.cdist(x[some], x)
    apart[torch.arange(len(some)), some] = torch.inf
    true = apart.topk(K, largest=False).indices
    return float((true[:, :, None] == found[some][:, None]).any(2).float().mean())


def quotients(graph: Any, columns: Tensor) -> Tensor:
    """Rayleigh quotients of the columns for the graph's Laplacian."""
    v = columns.double().numpy()
    return torch.from_numpy((v * (laplacian(graph) @ v)).sum(0) / (v * v).sum(0))


def measure(count: int, seed: int) -> list[list[str]]:
    x, labels = surface(count, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    near, indices = nearest_neighbours(x, K)
    moved = x + 0.1 * float(near[:, 0].mean()) / DIM**0.5 * torch.randn(x.shape, generator=generator)
    usage = torch.randint(1, 4, (count,), generator=generator, dtype=torch.int32)
    sae = fit_sae(x, num_factors=256, k=16, epochs=1, seed=seed).sae
    last = connect(fuzzy_graph(near, indices, [K]), x)[0]
    exact = count <= LANCZOS
    start = spectral_embedding(last, COLUMNS, seed) if exact else torch.randn(count, COLUMNS, generator=generator)
    witness, material = Witness(256), Material(moved, labels, None, seed)
    witness.bind(count)
    old = recall(moved, indices)
    rows, sums = [], np.zeros(2)

    def part(name: str, work: Callable[[], Any], nearly: Callable[[Any], str] = lambda _: "") -> Any:
        wall, process, result = timed(work)
        sums[:] += wall, process
        rows.append([f"{count:,}: {name}", f"{wall:.2f}", f"{process:.2f}", nearly(result)])
        return result

    part("autoencoder, 24 steps", lambda: train_again(sae, moved, seed=seed))
    codes = part("codes of all samples", lambda: encode(sae, moved))
    part("rarity", lambda: factor_scores(codes, labels))
    found = part(
        "neighbours",
        lambda: improve_neighbours(moved, indices, seed),
        lambda r: f"{recall(moved, r[1]):.1%}, before {old:.1%}",
    )
    graph = part("graph", lambda: connect(fuzzy_graph(*found, [K]), moved)[0])
    columns = part("eigenvectors", lambda: spectral_embedding(graph, COLUMNS, seed, start=start))
    if exact:
        _, process, true = timed(lambda: spectral_embedding(graph, COLUMNS, seed))
        ours, theirs = (float(quotients(graph, v).mean()) for v in (columns, true))
        rows[-1][-1] = f"{ours:.4f}, exact {theirs:.4f} in {process:.1f}"
    material.graph, material.embedding = graph, columns
    region = Region()
    region.bind(count)
    part("boundary", lambda: Boundary().raw(material))
    part("region", lambda: (region.fit(material), region.values(usage)))
    part("witness, 256 frequencies", lambda: (witness.fit(material), witness.values(usage)))
    rows.append([f"{count:,}: all parts", f"{sums[0]:.2f}", f"{sums[1]:.2f}", ""])
    rows.append(whole(count, x, moved, labels, usage))
    return rows


def whole(count: int, x: Tensor, moved: Tensor, labels: Tensor, usage: Tensor) -> list[str]:
    """The selector's own second epoch."""
    selector = Geometry(sae_epochs=1, seed=0)
    selector.bind(count, labels)
    first = timed(lambda: selector.fit(x))[1]
    selector.observe(Feedback(torch.arange(count).repeat_interleave(usage.long())))

    def epoch() -> None:
        selector.fit(moved)
        selector.select(0.5, count // 2)

    wall, process, _ = timed(epoch)
    return [f"{count:,}: an epoch of the selector", f"{wall:.2f}", f"{process:.2f}", f"first fit {first:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    measure(3000, args.seed)  # what the libraries set up at their first call isn't ours
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a file or pipe has no width of its own
    for count in args.samples:
        table = Table(title=f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {platform.processor()}")
        for name in ("work", "seconds", "process seconds", "nearly"):
            table.add_column(name, justify="right" if "seconds" in name else "left")
        for row in measure(count, args.seed):
            table.add_row(*row)
        console.print(table)
    console.print(
        f"Python {platform.python_version()}, torch {torch.__version__}, seed {args.seed}, n = 1, "
        f"load {os.getloadavg()[0]:.1f}; goal at 50,000 samples: {GOAL:g} s on two cores"
    )


if __name__ == "__main__":
    main()
