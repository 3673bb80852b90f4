"""What FAST solves in one class, and the numbers of the method.

Shapes: N samples, M points, d embedding dim, F frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import check_integer, check_number
from dynsel.cfd import anisotropic_frequencies, characteristic_sums, median_scale, random_floor

__all__ = ["Problem", "Settings", "make_problem"]


@dataclass(frozen=True)
class Settings:
    """The numbers of the method, as of `dynsel.selectors.FAST`."""

    num_frequencies: int
    frequencies_per_step: int
    assign_every: int
    lr: float
    diversity: float
    matching: float
    graph: float
    strength: float
    attenuation: float
    degree_exponent: float

    def __post_init__(self) -> None:
        checked: dict[str, float] = {}
        checked["num_frequencies"] = check_integer(
            "num_frequencies", self.num_frequencies, at_least=12, why="1024 is usual"
        )
        for name in ("frequencies_per_step", "assign_every"):
            checked[name] = check_integer(name, getattr(self, name), at_least=1)
        checked["lr"] = check_number("lr", self.lr, above=0)
        for name in ("diversity", "matching", "graph", "strength", "attenuation", "degree_exponent"):
            checked[name] = check_number(name, getattr(self, name), at_least=0)
        # As plain numbers, whatever kind was given.
        for name, value in checked.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Problem:
    """What the points of a class are to match.

    Args:
        reference: (N, d) float32, the spectral embedding of the class.
        degree: (N,) float32, the sum of each sample's edges, to the power of the settings.
        scale: 1 / median distance within the reference.
        bank: (F, d) frequencies, norms ascending.
        aim: (F,) complex64, characteristic function of the reference.
        floor: CFD of a random subset of M, the unit of the characteristic loss.
        laplacian: (N, N) scipy CSR array, or None to go without the graph term.
    """

    reference: Tensor
    degree: Tensor
    scale: float
    bank: Tensor
    aim: Tensor
    floor: float
    laplacian: Any = None


def make_problem(
    reference: Tensor, degree: Tensor, count: int, settings: Settings, seed: int, laplacian: Any = None
) -> Problem:
    """What the points of a class are to match; the same for the same arguments.

    Args:
        reference: (N, d) float32, the spectral embedding of the class.
        degree: (N,) float32, the sum of each sample's edges.
        count: M, number of points. The bank of frequencies (equation 13) is the one that tells as many random samples
            from the reference.
        settings: Weights of the loss, temperatures and learning rate.
        seed: Seed of bank and scale.
        laplacian: (N, N) scipy CSR array, or None to go without the graph term.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = median_scale(reference, generator)
    start = reference[torch.randperm(len(reference), generator=generator)[:count]]
    # Fitted on some of the rows and frequencies: it takes a tenth of the time and serves as well.
    bank = anisotropic_frequencies(
        settings.num_frequencies,
        start,
        reference,
        generator,
        scale=scale,
        strength=settings.strength,
        attenuation=settings.attenuation,
        max_rows=512,
        max_draws=64,
    )
    aim = characteristic_sums(reference, bank).value().to(torch.complex64)
    floor = max(1e-12, random_floor(aim, count, len(reference)))
    return Problem(reference, degree**settings.degree_exponent, scale, bank, aim, floor, laplacian)
