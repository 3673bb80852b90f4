"""FAST's exchanges of chosen samples for others, in one class.

Shapes: N samples, M chosen, d embedding dim, F frequencies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynsel.cfd import characteristic_sums, gaussian_frequencies
from dynsel.selectors.fast.problem import Settings

__all__ = ["swap", "swap_waves"]

Array = NDArray[Any]

_POOL = 48  # candidates, each way, among which swaps are chosen exactly
_WAVE_VALUES = 2**26  # 268 MB


def swap_waves(
    reference: Tensor, scale: float, bank: Tensor | None, count: int, settings: Settings, seed: int
) -> Tensor:
    """Coordinates of the samples in which the squared distance of two means is nearly their phase-decoupled CFD.

    Sample x has cos(t·x - θ) and sin(t·x - θ), with θ the phase of the reference at t: parts of a difference along
    φ(t) and across it, the second weighted for the phase, to second order. Half of the frequencies are of the
    bank; the others are Gaussian, so that a subset doesn't fit the bank alone.

    Args:
        reference: (N, d) points of the whole set.
        scale: Scale of the frequencies, 1 / median distance.
        bank: (F, d), or None for Gaussian ones only.
        count: M, whose sampling noise bounds the weight of a phase.
        settings: Number of frequencies and so on.
        seed: Seed for the Gaussian frequencies.

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
        waves: (N, 2F) coordinates of each sample.
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
