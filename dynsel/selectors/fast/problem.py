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
    """The numbers of the method, as of `dynsel.selectors.FAST`.

    Args:
        num_frequencies: Size F of the bank of frequencies, at least 12.
        frequencies_per_step: Number of frequencies that a step looks at, at least 1.
        assign_every: Steps from one assignment to the next, at least 1.
        lr: Highest learning rate of Adam, above 0.
        diversity: Weight of the log-determinant, at least 0 (λ_div of equation 15).
        matching: Weight of the distance to assigned samples, at least 0 (λ_match).
        graph: Weight of the graph term, at least 0 (λ_graph).
        strength: Weight of phase differences, at least 0 (λ_p of equation 10).
        attenuation: How fast that weight falls off with the frequency, at least 0 (α of equation 10).
        degree_exponent: Power of the degree that divides the cost of an assignment (equation 3 has 1), at least 0.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is out of range.

    Reference:
        FAST (2025), arXiv:2511.19476. The paper has values for λ_p and α alone; all others are ours.
    """

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

    Reference:
        FAST (2025), arXiv:2511.19476, equations 2, 3, 6 and 13; the unit of the loss, `floor`, is ours.
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
