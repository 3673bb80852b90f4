"""Characteristic functions of a few points and how they differ, in differentiable torch; public as `dynsel.cfd`.

Shapes: M points, d feature dim, F frequencies, N samples of a whole set.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["amplitude_phase", "cfd", "characteristic_function", "discrepancy", "phase_decoupled", "random_floor"]


def characteristic_function(points: Tensor, frequencies: Tensor, weights: Tensor | None = None) -> Tensor:
    """The characteristic function φ(t) = Σ w e^{i t·x} / Σ w of a few points, in plain differentiable torch.

    Args:
        points: (..., M, d) floating point.
        frequencies: (F, d), or (..., F, d) with own frequencies for each set of points.
        weights: (..., M) not negative, of positive sum; None = 1 each.

    Returns:
        (..., F) complex, of the precision of the points.
    """
    angles = points @ frequencies.to(points).transpose(-1, -2)
    if weights is None:
        return torch.complex(angles.cos().mean(-2), angles.sin().mean(-2))
    share = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1).to(points)
    return torch.complex((share * angles.cos()).sum(-2), (share * angles.sin()).sum(-2))


def amplitude_phase(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of |a - b|²: how spread out the samples are, and where they lie.

    Args:
        a: (..., F) complex characteristic function, as of `characteristic_function`.
        b: Second characteristic function, same shape.

    Returns:
        (|a| - |b|)² and 2 (|a| |b| - Re a b̄), each (..., F), at least 0.

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653, eq. 7.
    """
    size_a, size_b = a.abs(), b.abs()
    phase = 2 * (size_a * size_b - a.real * b.real - a.imag * b.imag)
    return (size_a - size_b).square(), phase.clamp_min(0)


def cfd(a: Tensor, b: Tensor) -> Tensor:
    """Characteristic function distance: the mean of |a - b|² over the frequencies.

    Args:
        a: (..., F) complex characteristic function, as of `characteristic_function`.
        b: Second characteristic function, same shape.

    Returns:
        (...) in [0, 4]; a scalar for two of shape (F,).

    Reference:
        Gretton et al. (2012), A kernel two-sample test, and Chwialkowski et al. (2015), Fast two-sample testing with
        analytic representations of probability measures, arXiv:1506.04725.
    """
    return squared(a - b).mean(-1)


def discrepancy(a: Tensor, b: Tensor, amplitude: float = 0.5) -> Tensor:
    """The mean over frequencies of √(α amplitude part + (1 - α) phase part), which is trained against.

    The root comes before the mean, so it isn't half the CFD even at α = 0.5. Below 1e-12 the term under the root has
    no gradient, where its slope would be infinite.

    Args:
        a: (..., F) complex characteristic function, as of `characteristic_function`.
        b: Second characteristic function, same shape.
        amplitude: α, the weight of the amplitudes (spread) against the phases (place), in [0, 1].

    Returns:
        (...) real, at least 0.

    Reference:
        Wang et al. (2025), arXiv:2502.20653, eq. 8 with β = 1 - α.

    Example:
        >>> one = torch.tensor([1.0 + 0.0j])
        >>> [round(float(discrepancy(one, value * one)), 3) for value in (1.0, 0.5, -1.0)]
        [0.0, 0.354, 1.414]
    """
    spread, place = amplitude_phase(a, b)
    # The root's slope at 0 is infinite, and 0 times that is NaN.
    return (amplitude * spread + (1 - amplitude) * place).clamp_min(1e-12).sqrt().mean(-1)


def phase_decoupled(
    a: Tensor,
    b: Tensor,
    frequencies: Tensor,
    strength: float = 0.3,
    attenuation: float = 1.2,
    floor: float = 1e-3,
) -> Tensor:
    """|a - b|² + λ(t) Δθ² with λ(t) = strength / (1 + attenuation ‖t‖²), differentiable in a and b.

    In |a - b|² the phases count only as much as both magnitudes, which vanish at high frequencies; here they
    count by themselves. Where the paper is silent: Δθ is wrapped into (-π, π], and the phase of a magnitude
    below `floor` is noise and left out (without gradient).

    Args:
        a: (..., F) complex characteristic function, as of `characteristic_function`.
        b: Second characteristic function, same shape.
        frequencies: (F, d) or (..., F, d).
        strength: Weight λ of the phases at t = 0, at least 0.
        attenuation: How fast that weight falls with ‖t‖², at least 0.
        floor: Least magnitude of both functions at which their phases count, in (0, 1).

    Returns:
        (..., F), one term per frequency.

    Reference:
        FAST (2025), arXiv:2511.19476, eq. 9 and 10.
    """
    cross = a * b.conj()
    heard = (a.detach().abs() >= floor) & (b.detach().abs() >= floor)
    # An angle has no gradient at 0, not even one that is multiplied by 0 later.
    turn = torch.where(heard, cross, torch.ones_like(cross)).angle()
    weight = strength / (1 + attenuation * frequencies.to(turn).square().sum(-1))
    return squared(a - b) + weight * turn.square()


def random_floor(value: Tensor, size: float, total: int) -> float:
    """Expected CFD between a set and a uniform random subset of it, drawn without replacement.

    No subset chosen at random gets below it on average, so a distance says something only relative to it.

    Args:
        value: (F,) complex, the characteristic function of the whole set.
        size: M, number of samples in the subset, in [1, total]; may be an effective number.
        total: N, number of samples in the whole set.

    Returns:
        mean(1 - |φ|²) (N - M) / (M (N - 1)): 0 for M = N.

    Raises:
        ValueError: If `size` is outside [1, total].
    """
    if not 1 <= size <= total:
        raise ValueError(f"`size` must be in [1, total] = [1, {total}], got {size}")
    spread = 1 - float(squared(value).mean())
    return spread * (total - size) / (size * max(1, total - 1))


def squared(z: Tensor) -> Tensor:
    """|z|² without the square root, whose gradient has a pole at 0.

    Args:
        z: Complex tensor of any shape.

    Returns:
        Real tensor of the same shape.
    """
    return z.real.square() + z.imag.square()
