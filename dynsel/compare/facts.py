"""What is said above a table: what its columns mean, and under what it was measured: hardware, versions, date."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

import dynsel
from dynsel.compare.energy import unreadable

__all__ = ["hardware", "meanings", "not_measured", "today", "versions"]

DIFFERENCE = (
    "mean difference of runs with the same seed, hence with the same initial weights, ± its 95 % confidence interval"
)
P_VALUE = (
    "two-sided paired t-test over these seeds, corrected by Holm's method for the number of selectors compared to the "
    "same one; – where there is no test: one seed, or the same difference for every seed"
)
VERDICT = "on the difference to random: better or worse where p < 0.05, else same, that is: no difference shown"
WORK = (
    "scored: samples passed forward through a network only to choose among them; TFLOP: 10¹² operations of networks, "
    "forward and backward, by torch's counter, and after the stroke those of choosing"
)
SPEED = (
    "first evaluation that reaches the target and after which none misses it, to the end of the run; nothing is "
    "interpolated, and a seed that never gets there counts as infinite"
)
TIME = (
    "training, selection and waiting for the data, without validation and the first loading of the data set; of which "
    "selection: choosing, of which fitting: making features and fitting autoencoder, graph or coreset to them; data: "
    "waiting for the loader, which may overlap with what a GPU still computes; evaluation: validation, on top"
)
ENERGY = (
    "joules in the wall-clock time: the GPU by the driver's counter, all CPU packages by RAPL, with whatever else ran "
    "on them; read by zeus, never estimated"
)
WRONG = "share of samples labelled wrongly on purpose among what was trained on, with repetition"


def meanings(
    compared: Sequence[str], *, target: bool, wrong: bool = False, energy: bool = False
) -> list[tuple[str, str]]:
    """The columns that don't explain themselves.

    Args:
        compared: Baselines that the tables give differences to.
        target: Whether there is a table of the speed to a target.
        wrong: Whether there is a column of wrong labels.
        energy: Whether there is one of energy.
    """
    found = [(f"vs {', vs '.join(compared)}", DIFFERENCE), ("p", P_VALUE)] if compared else []
    if "random" in compared:
        found.append(("verdict", VERDICT))
    found.append(("cost", WORK))
    found.append(("wall-clock", TIME))
    if energy:
        found.append(("energy", ENERGY))
    if wrong:
        found.append(("wrong labels", WRONG))
    return [*found, ("speed", SPEED)] if target else found


def not_measured(device: torch.device) -> str:
    """Why the energy of some or all runs isn't known.

    Args:
        device: That trains.
    """
    return unreadable(device) or "some runs were made before without --energy; another --out measures all of them"


def hardware() -> str:
    """GPU if there is one, CPU model and number of threads."""
    threads = torch.get_num_threads()
    cpu = f"{_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> str:
    """Of what decides the numbers."""
    return f"dynsel {dynsel.__version__}, torch {torch.__version__}, lightning {version('lightning')}"


def today() -> str:
    """Date in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
