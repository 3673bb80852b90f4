"""FAST's work on one class: continuous points, their assignment to real samples, and swaps of these.

Shapes: N samples, M points, d embedding dim, F frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynsel.cfd import (
    anisotropic_frequencies,
    characteristic_function,
    characteristic_sums,
    curriculum_limit,
    gaussian_frequencies,
    median_scale,
    phase_decoupled,
    progressive_draw,
    random_floor,
)

Array = NDArray[Any]

_DELTA = 1e-3  # keeps the log-determinant of duplicates finite
_FOURIER = 128
_EPS = 1e-6
_RECENT = 4  # rounds whose frequencies the next draw turns away from
_POOL = 48  # candidates, each way, among which swaps are chosen exactly
_WAVE_VALUES = 2**26  # 268 MB


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
    """With a bank that tells `count` random samples from the reference; the same for the same arguments."""
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


# ---------------------------------------------------------------- continuous points
def optimise(
    start: Tensor,
    problem: Problem,
    settings: Settings,
    steps: int,
    generator: torch.Generator,
    *,
    band: Tensor | None = None,
    penalty: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Move points until their characteristic function is that of the reference, near real samples of their own.

    In rounds of `assign_every` steps of Adam; each begins with a new assignment and a new draw of frequencies.

    Args:
        start: (M, d) points.
        problem: What to match.
        settings: Weights and so on.
        steps: Steps of Adam in all.
        generator: Source of frequencies.
        band: (F,) bool, the frequencies to draw from; None lets them rise from low to high.
        penalty: (N,) dearness of each sample in the assignment, in units of the distance to the second nearest.

    Returns:
        (M, d) points, and the sample assigned to each: (M,) int64, each at most once.
    """
    with torch.inference_mode(False), torch.enable_grad():
        y = start.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([y], settings.lr)
        normals = torch.randn(start.shape[1], _FOURIER, generator=generator) * problem.scale
        shifts = torch.rand(_FOURIER, generator=generator) * 2 * math.pi
        recent: list[Tensor] = []
        for first in range(0, steps, settings.assign_every):
            match = assign(y.detach(), problem, penalty)
            laplacian = _submatrix(problem.laplacian, match) if settings.graph else None
            drawn = _draw(y.detach(), problem, settings, first / steps, band, recent, generator)
            recent = [*recent[1 - _RECENT :], drawn]
            for step in range(first, min(first + settings.assign_every, steps)):
                loss = _characteristic_loss(y, problem, drawn, settings)
                loss = loss + settings.matching * (step / steps) * (y - problem.reference[match]).square().sum(1).mean()
                if settings.diversity:
                    waves = math.sqrt(2 / _FOURIER) * (y @ normals + shifts).cos()
                    loss = loss - settings.diversity * log_det(waves, _DELTA) / len(y)
                if laplacian is not None:
                    loss = loss + settings.graph * (y * (laplacian @ y)).sum() / len(y)
                optimizer.param_groups[0]["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    points = y.detach()
    return points, assign(points, problem, penalty)


def _characteristic_loss(y: Tensor, problem: Problem, drawn: Tensor, settings: Settings) -> Tensor:
    frequencies = problem.bank[drawn]
    terms = phase_decoupled(
        characteristic_function(y, frequencies),
        problem.aim[drawn],
        frequencies,
        settings.strength,
        settings.attenuation,
    )
    # Bare, it is some 1e-3, and the other terms would be all that counts.
    return terms.mean() / problem.floor


def _draw(
    y: Tensor,
    problem: Problem,
    settings: Settings,
    progress: float,
    band: Tensor | None,
    recent: list[Tensor],
    generator: torch.Generator,
) -> Tensor:
    """The frequencies of a round."""
    norms = problem.bank.norm(dim=1)
    allowed = norms <= curriculum_limit(progress, norms) if band is None else band
    now = characteristic_function(y, problem.bank)
    loss = phase_decoupled(now, problem.aim, problem.bank, settings.strength, settings.attenuation)
    lately = torch.cat(recent) if recent else torch.zeros(0, dtype=torch.int64)
    return progressive_draw(loss, problem.bank, lately, settings.frequencies_per_step, allowed, generator)


def assign(points: Tensor, problem: Problem, penalty: Tensor | None = None) -> Tensor:
    """The cheapest choice of one sample a point, each at most once.

    The cost of sample j for point i is ‖y_i - v_j‖² / degree_j, plus its penalty.

    Args:
        points: (M, d), M at most N.
        problem: Reference and degrees.
        penalty: See `optimise`.

    Returns:
        (M,) int64.
    """
    from scipy.optimize import linear_sum_assignment

    v = problem.reference
    cost = torch.addmm(v.square().sum(1), points, v.T, alpha=-2).add_(points.square().sum(1)[:, None]).clamp_min_(0)
    cost /= problem.degree + _EPS
    if penalty is not None and len(v) > 1:
        # The nearest one may be the point's own sample of the last epoch, at hardly any distance.
        cost += penalty * cost.kthvalue(2, dim=1).values.mean()
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def log_det(waves: Tensor, delta: float) -> Tensor:
    """log det(Ψ Ψᵀ + δ I) of M rows of R features, in O(M R²): (M - R) log δ + log det(Ψᵀ Ψ + δ I).

    Args:
        waves: (M, R) Ψ.
        delta: δ, above 0.

    Returns:
        Scalar of float64.
    """
    rows, width = waves.shape
    waves = waves.double()
    factor = torch.linalg.cholesky(waves.T @ waves + delta * torch.eye(width, dtype=waves.dtype))
    inner: Tensor = 2 * factor.diagonal().log().sum()
    return (rows - width) * math.log(delta) + inner


def _submatrix(matrix: Any, match: Tensor) -> Tensor | None:
    if matrix is None:
        return None
    rows = match.numpy()
    coo = matrix[rows][:, rows].tocoo()
    ends = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(ends, torch.from_numpy(coo.data).float(), coo.shape, check_invariants=False)


# ---------------------------------------------------------------- swaps
def swap_waves(
    reference: Tensor, scale: float, bank: Tensor | None, count: int, settings: Settings, seed: int
) -> Tensor:
    """Coordinates of the samples in which the squared distance of two means is nearly their phase-decoupled CFD.

    Sample x has cos(t·x - θ) and sin(t·x - θ), with θ the phase of the reference at t: parts of a difference along
    φ(t) and across it, the second weighted for the phase, to second order. Half of the frequencies are of the
    bank; the others are Gaussian, so that a subset doesn't fit the bank alone.

    Args:
        reference: (N, d).
        scale: 1 / median distance.
        bank: (F, d), or None for Gaussian ones only.
        count: M, whose sampling noise bounds the weight of a phase.
        settings: Number of frequencies and so on.
        seed: Of the Gaussian ones.

    Returns:
        (N, 2F) float32.
    """
    part = max(1, min(settings.num_frequencies, _WAVE_VALUES // (2 * len(reference))) // 4)
    generator = torch.Generator().manual_seed(seed)
    near, far, more = (
        gaussian_frequencies(number, reference.shape[1], scale * wide, generator)
        for number, wide in ((part, 1), (part, 2), (2 * part, 1))
    )
    t = torch.cat([near, far, more if bank is None else bank[:: max(1, len(bank) // (2 * part))]])
    aim = characteristic_sums(reference, t).value()
    weight = settings.strength / (1 + settings.attenuation * t.square().sum(1))
    across = (1 + weight / (aim.abs().square().float() + 1 / count)).sqrt()
    angles = torch.addmm(-aim.angle().float(), reference, t.T)
    return torch.cat([angles.cos(), angles.sin() * across], dim=1) / math.sqrt(len(t))


def swap(chosen: Tensor, waves: Tensor, usage: Tensor | None = None, rounds: int = 200) -> Tensor:
    """Exchange samples for others while that brings the mean of the chosen nearer to the mean of all.

    Each round finds the best candidates of either side by one matrix-vector product, and makes those exchanges among
    them that lower the distance, which their inner products tell exactly.

    Args:
        chosen: (M,) int64, each once.
        waves: (N, 2F) coordinates.
        usage: (N,) counts: none is exchanged for one used more often; None = any.
        rounds: Most rounds; ends when one finds no exchange.

    Returns:
        (M,) int64, ascending.
    """
    size = waves.square().sum(1).numpy()
    inside = np.zeros(len(waves), dtype=bool)
    inside[chosen.numpy()] = True
    aim = waves.mean(0, dtype=torch.float64) * len(chosen)
    uses = None if usage is None else usage.numpy()
    for _ in range(rounds if len(chosen) < len(waves) else 0):
        members = torch.from_numpy(np.flatnonzero(inside))
        excess = (waves[members].sum(0, dtype=torch.float64) - aim).float()
        slope = 2 * (waves @ excess).numpy()
        leaving, joining = np.flatnonzero(inside), np.flatnonzero(~inside)
        leaving = _lowest(leaving, size[leaving] - slope[leaving])
        joining = _lowest(joining, size[joining] + slope[joining])
        if not _exchange(inside, leaving, joining, waves, size, slope, uses):
            break
    return torch.from_numpy(np.flatnonzero(inside))


def _lowest(candidates: Array, values: Array) -> Array:
    count = min(_POOL, len(candidates))
    best: Array = candidates[np.argpartition(values, count - 1)[:count]]
    return best


def _exchange(
    inside: Array, leaving: Array, joining: Array, waves: Tensor, size: Array, slope: Array, uses: Array | None
) -> int:
    """Make the best exchange of two candidates again and again, each taking part once; returns how many."""
    out, new = waves[torch.from_numpy(leaving)], waves[torch.from_numpy(joining)]
    cross = (out @ new.T).numpy()
    change = (size - slope)[leaving][:, None] + (size + slope)[joining] - 2 * cross
    if uses is not None:
        change[uses[joining] > uses[leaving][:, None]] = np.inf
    among_out, among_new = (out @ out.T).numpy(), (new @ new.T).numpy()
    # Below this, float32 can't tell better from worse.
    least, made = 1e-6 * float(size.mean()), 0
    while True:
        i, j = divmod(int(change.argmin()), change.shape[1])
        if not change[i, j] < -least:
            return made
        inside[leaving[i]], inside[joining[j]] = False, True
        # The excess changed by new_j - out_i, and with it every slope.
        change -= 2 * (cross[:, j] - among_out[:, i])[:, None]
        change += 2 * (among_new[:, j] - cross[i])
        change[i], change[:, j] = np.inf, np.inf
        made += 1
