"""Is dynsel still as fast? Ratios to a floor that is measured in the same run, against the bounds in bounds.json.

    python recipes/benchmarks/check.py

Seconds differ from machine to machine, ratios much less: each measure stands beside what nobody can do without, the
smallest of several tries counts, and a bound leaves room for the moods of a busy machine. The exit code is 1 if one is
exceeded. Who makes something slower on purpose changes the bound in the same commit.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import listening
import overhead
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from dynsel import SelectionController
from dynsel.callbacks.listening import Listener
from dynsel.selectors import LossRank, Random

BOUNDS = Path(__file__).with_name("bounds.json")
TRIES = 3
SAMPLES, RANKS = 8_000, 2


def choosing() -> float:
    """Choosing, ordering and counting an epoch of 200,000 samples, in units of one `torch.topk` of half of them."""
    data, numbers = overhead.Labelled(200_000, 10, seed=0), torch.rand(200_000)
    times, _ = overhead.measure(Random(), data, epochs=5, keep_ratio=0.5, seed=0)
    return times["overhead"] / overhead.median_milliseconds(lambda: torch.topk(numbers, 100_000), 5)


def listening_to() -> float:
    """A step of a ResNet-18 on two tiny images that is listened to, in units of the step itself."""
    torch.manual_seed(0)
    net, batch, rules = listening.settings("resnet", small=True)
    selector, step = rules["usual loss, and Hybrid's entropy"]
    listener = Listener(selector, net)
    pairs = [(listening.beside(step, batch, listener)[0], listening.beside(step, batch, None)[0]) for _ in range(25)]
    listener.close()
    return min(with_it for with_it, _ in pairs[5:]) / min(without for _, without in pairs[5:])


def gathered() -> float:
    """Bytes that arrive at a rank for each sample trained on, in units of one float32."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, (folder,), nprocs=RANKS)
        return float((Path(folder) / "bytes").read_text()) / 4


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    selection = SelectionController(LossRank(), keep_ratio=0.5, max_epochs=1, seed=0)
    loader = selection.wrap(DataLoader(torch.arange(SAMPLES), batch_size=100))
    loader.sampler.set_epoch(0)
    for step, indices in enumerate(loader):
        selection.observe(step, per_sample_loss=indices.float())
    received, gather = [0], dist.all_gather

    def counting(everyone: list[torch.Tensor], mine: torch.Tensor, **options: Any) -> Any:
        received[0] += sum(theirs.nbytes for theirs in everyone)
        return gather(everyone, mine, **options)

    dist.all_gather = counting
    record = selection.finish_epoch()
    if rank == 0:
        Path(folder, "bytes").write_text(str(received[0] / record.samples_trained))
    dist.destroy_process_group()


def importing(statement: str, floor: str) -> float:
    """Processor time of a Python with one statement, in units of one with another."""
    return _processor_seconds(statement) / _processor_seconds(floor)


def _processor_seconds(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


MEASURES: dict[str, Callable[[], float]] = {
    "choosing": choosing,
    "listening": listening_to,
    "gathered bytes": gathered,
    "import dynsel": partial(importing, "import dynsel", "import importlib.metadata, pathlib, typing"),
    "import dynsel.callbacks": partial(importing, "import dynsel.callbacks", "import lightning.pytorch"),
}


def exceeded(found: dict[str, float], bounds: dict[str, float]) -> list[str]:
    """What is wrong, a line each: a ratio above its bound, or one that has none.

    Args:
        found: Measured ratios by name.
        bounds: The largest ratios allowed.
    """
    return [
        f"{name}: {ratio:.2f} times its floor, allowed are {bounds[name]:g}" if name in bounds else f"{name}: no bound"
        for name, ratio in found.items()
        if ratio > bounds.get(name, 0.0)
    ]


def main() -> int:
    """Measure all, print a line each, and say what is exceeded."""
    torch.set_num_threads(1)
    bounds, found = json.loads(BOUNDS.read_text()), {}
    print(f"{overhead.machine()}\n")
    for name, measure in MEASURES.items():
        tries = 1 if name == "gathered bytes" else TRIES  # the same each time
        found[name] = min(measure() for _ in range(tries))
        print(f"{name:<25} {found[name]:6.2f}   allowed {bounds.get(name, float('nan')):g}", flush=True)
    wrong = exceeded(found, bounds)
    print("\n" + ("\n".join(wrong) or "all within their bounds"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
