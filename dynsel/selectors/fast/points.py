"""FAST's continuous points of one class, and their assignment to real samples.

Shapes: N samples, M points, d embedding dim, F frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.cfd import characteristic_function, curriculum_limit, phase_decoupled, progressive_draw
from dynsel.selectors.fast.problem import Problem, Settings

__all__ = ["assign", "log_det", "optimise"]

_DELTA = 1e-3  # keeps the log-determinant of duplicates finite
_FOURIER = 128
_EPS = 1e-6
_RECENT = 4  # rounds whose frequencies the next draw turns away from


def optimise(
    start: Tensor,
    problem: Problem,
    settings: Settings,
    steps: int,
    generator: torch.Generator,
    *,
    band: Tensor | None = None,
    penalty: Tensor | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Move points until their characteristic function is that of the reference, near real samples of their own.

    In rounds of `assign_every` steps of Adam; each begins with a new assignment and a new draw of frequencies. The loss
    is the paper's equations 15 and 16: its characteristic part (9 and 10), the distance to the assigned samples (4),
    the graph term (5) and the log-determinant.

    Args:
        start: (M, d) points to begin with.
        problem: Embedding, degrees and frequencies to be matched.
        settings: Weights of the loss, temperatures and learning rate.
        steps: Number of steps of Adam in all.
        generator: Source of frequencies.
        band: (F,) bool, the frequencies to draw from; None lets them rise from low to high.
        penalty: (N,) dearness of each sample in the assignment, in units of the distance to the second nearest.
        advance: Called after each round with the number of its steps.

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
            if advance is not None:
                advance(step + 1 - first)
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
    """The frequencies of a round (equation 14): positions in the bank, (k,) int64."""
    norms = problem.bank.norm(dim=1)
    allowed = norms <= curriculum_limit(progress, norms) if band is None else band
    now = characteristic_function(y, problem.bank)
    loss = phase_decoupled(now, problem.aim, problem.bank, settings.strength, settings.attenuation)
    lately = torch.cat(recent) if recent else torch.zeros(0, dtype=torch.int64)
    return progressive_draw(loss, problem.bank, lately, settings.frequencies_per_step, allowed, generator)


def assign(points: Tensor, problem: Problem, penalty: Tensor | None = None) -> Tensor:
    """The cheapest choice of one sample per point, each at most once (equation 3, with squared distances).

    The cost of sample j for point i is ‖y_i - v_j‖² / degree_j, plus its penalty.

    Args:
        points: (M, d) points that were optimized, M at most N.
        problem: Reference and degrees.
        penalty: (N,) usage penalty of each sample, as for `optimise`.

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
        waves: (M, R) matrix Ψ of the samples' waves.
        delta: Regularisation δ, above 0.

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
