"""Which frequencies a characteristic function is looked at with; public as `dynsel.cfd`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.matrices import Matrix, check_matrix, take
from dynsel.cfd.distances import characteristic_function, phase_decoupled
from dynsel.selection import weighted_draw

__all__ = [
    "anisotropic_frequencies",
    "curriculum_limit",
    "frequency_bands",
    "gaussian_frequencies",
    "median_scale",
    "progressive_draw",
]


def gaussian_frequencies(count: int, dim: int, scale: float, generator: torch.Generator) -> Tensor:
    """Draw from N(0, scale² I).

    Args:
        count: Number F of frequencies, at least 1.
        dim: Number d of dimensions of the features, at least 1.
        scale: Standard deviation, above 0; `median_scale` of the features is the usual one.
        generator: Source of the draw; decides the device of the result.

    Returns:
        (F, d) float32 on the generator's device.

    Raises:
        ValueError: If `count`, `dim` or `scale` is out of range.

    Reference:
        Rahimi and Recht (2007), Random features for large-scale kernel machines, algorithm 1.
    """
    if count < 1 or dim < 1:
        raise ValueError(f"`count` and `dim` must be at least 1, got {count} and {dim}")
    if not 0 < scale < math.inf:
        raise ValueError(f"`scale` must be above 0 and finite, got {scale}")
    return torch.randn(count, dim, generator=generator, device=generator.device) * scale


def median_scale(features: Matrix, generator: torch.Generator, pairs: int = 4096) -> float:
    """1 / median distance of two rows, which suits most features as the scale of Gaussian frequencies.

    Args:
        features: (N, d) floating-point tensor, array or memory map, N at least 2.
        generator: Source of the pairs, on the CPU.
        pairs: Number of random pairs; all of them where there are no more. Pairs at distance zero don't count.

    Returns:
        The scale, above 0, in units of 1 / feature.

    Raises:
        ValueError: If there is one row only, or all distances are zero.
    """
    check_matrix(features)
    count = len(features)
    if count < 2:
        raise ValueError(f"`features` must have at least 2 rows, got {count}")
    if count * (count - 1) // 2 <= pairs:
        first, second = torch.triu_indices(count, count, 1)
    else:
        first = torch.randint(count, (pairs,), generator=generator)
        second = (first + torch.randint(1, count, (pairs,), generator=generator)) % count
    # In float64 so that large features don't overflow when squared.
    apart = take(features, first).double().sub_(take(features, second)).norm(dim=1)
    apart = apart[apart > 0]
    if len(apart) == 0:
        raise ValueError(
            f"`features` must differ between samples, got {len(first)} pairs all at distance zero; "
            "give `scale` by hand, or other features"
        )
    return 1.0 / float(apart.quantile(0.5))


def frequency_bands(frequencies: Tensor, bands: int = 3) -> Tensor:
    """Bands of equally many frequencies, from low norms to high.

    Args:
        frequencies: (F, d) floating point, in any order.
        bands: Number of bands, 1 .. F.

    Returns:
        (F,) int64 in 0 .. bands-1: the band of each frequency.

    Raises:
        ValueError: If `bands` is out of range.
    """
    count = len(frequencies)
    if not 1 <= bands <= count:
        raise ValueError(f"`bands` must be between 1 and the number of frequencies, {count}, got {bands}")
    order = frequencies.norm(dim=1).argsort(stable=True)
    band = torch.empty_like(order)
    band[order] = torch.arange(count, device=order.device) * bands // count
    return band


def anisotropic_frequencies(
    count: int,
    start: Matrix,
    reference: Matrix,
    generator: torch.Generator,
    bands: int = 3,
    *,
    scale: float | None = None,
    reach: float = 2.0,
    strength: float = 0.3,
    attenuation: float = 1.2,
    steps: int = 20,
    lr: float = 0.1,
    max_rows: int = 2048,
    max_draws: int = 128,
) -> Tensor:
    """A bank of frequencies that look where two sets of points differ, in every band of norms.

    In each band the directions are those of N(0, diag(s²)), with s, one scale per dimension, chosen to maximise the
    phase-decoupled distance of the two sets: Adam on log s, from s = 1, with the normal draws held fixed. The norms
    are given, evenly spread from 0 to `reach` times those of N(0, scale² I); so s turns frequencies without moving
    them out of their band, and high ones, where both functions vanish, can't be escaped. The paper doesn't say
    how norms are held in a band, nor how s is found.

    Args:
        count: Number F of frequencies, at least `bands`.
        start: (M, d) floating-point points, as they are now.
        reference: (N, d) points they are to match.
        generator: Source of the draws, on the CPU.
        bands: Number of equal parts of the range of norms.
        scale: Standard deviation that stands for typical norms; default `median_scale` of the reference.
        reach: Largest norm in units of scale √d, above 0.
        strength: Weight of the phases at t = 0; see `phase_decoupled`.
        attenuation: How fast that weight falls; see `phase_decoupled`.
        steps: Steps of Adam a band; 0 gives isotropic directions.
        lr: Learning rate of Adam, above 0: s stays within about e^{± lr steps}.
        max_rows: Rows of each set, drawn at random, that s is fitted on.
        max_draws: Frequencies a band that s is fitted on.

    Returns:
        (F, d) float32 on the device of the reference, norms ascending.

    Raises:
        ValueError: If a number is out of range, the widths differ, or all rows of the reference are the same.

    Reference:
        FAST (2025), arXiv:2511.19476, eq. 13.
    """
    _check_bank(count, bands, steps, lr, reach)
    _check_widths(start, reference)
    dim = reference.shape[1]
    scale = median_scale(reference, generator) if scale is None else scale
    with torch.inference_mode(False), torch.enable_grad():
        points, target = _some_rows(start, max_rows, generator), _some_rows(reference, max_rows, generator)
        points, normals = points.to(target), torch.randn(count, dim, generator=generator).to(target)
        norms = torch.arange(1, count + 1, device=target.device) * (reach * scale * math.sqrt(dim) / count)
        band = frequency_bands(norms[:, None], bands)
        bank = torch.empty_like(normals)
        for b in range(bands):
            inside = (band == b).nonzero()[:, 0]
            some = inside[:: -(-len(inside) // max_draws)]
            log_scale = torch.zeros(dim, device=target.device, requires_grad=True)
            optimizer = torch.optim.Adam([log_scale], lr, maximize=True)
            for _ in range(steps):
                t = _directed(normals[some], log_scale, norms[some])
                a, goal = characteristic_function(points, t), characteristic_function(target, t)
                optimizer.zero_grad()
                phase_decoupled(a, goal, t, strength, attenuation).mean().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            bank[inside] = _directed(normals[inside], log_scale.detach(), norms[inside])
    return bank


def _check_bank(count: int, bands: int, steps: int, lr: float, reach: float) -> None:
    if bands < 1 or count < bands:
        raise ValueError(f"`count` must be at least `bands`, and that at least 1, got {count} and {bands}")
    if steps < 0 or not lr > 0 or not reach > 0:
        raise ValueError(f"`steps` must be at least 0, `lr` and `reach` above 0, got {steps}, {lr} and {reach}")


def _check_widths(start: Matrix, reference: Matrix) -> None:
    check_matrix(start, "start")
    check_matrix(reference, "reference")
    if start.shape[1] != reference.shape[1]:
        raise ValueError(
            f"`start` and `reference` must have as many columns, got {start.shape[1]} and {reference.shape[1]}"
        )


def curriculum_limit(progress: float, norms: Tensor, *, start: float = 1 / 3, full_at: float = 0.7) -> float:
    """The largest norm of frequency in use: low frequencies first, all of them from `full_at` on.

    Args:
        progress: Share of the optimisation done, in [0, 1].
        norms: (F,) norms of the frequencies.
        start: Quantile of the norms to start at, in [0, 1].
        full_at: Progress at which the limit has risen, linearly, to the largest norm, in (0, 1].

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> norms = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> [curriculum_limit(p, norms) for p in (0.0, 0.35, 0.7, 1.0)]
        [2.0, 3.0, 4.0, 4.0]
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"`progress` must be in [0, 1], got {progress}")
    if not 0 <= start <= 1 or not 0 < full_at <= 1:
        raise ValueError(f"`start` must be in [0, 1] and `full_at` in (0, 1], got {start} and {full_at}")
    largest = float(norms.max())
    if progress >= full_at:  # exactly, so that rounding can't shut out the largest
        return largest
    least = float(norms.quantile(start))
    return least + (largest - least) * progress / full_at


def progressive_draw(
    loss: Tensor,
    frequencies: Tensor,
    recent: Tensor,
    count: int,
    allowed: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw frequencies without replacement where the loss is large and that point elsewhere than the last ones.

    The probability is in proportion to loss · D with D = 1 / (1 + mean |cos| to the recent frequencies); the
    paper asks for such a D without giving it.

    Args:
        loss: (F,) at least 0, one term per frequency, for instance `phase_decoupled`.
        frequencies: (F, d) floating point, the bank that is drawn from.
        recent: (R,) int64 positions in the bank of what was used lately, repetitions allowed; may be empty.
        count: Number to draw, at least 1; where fewer are allowed, all of these are taken.
        allowed: (F,) bool, at least one of them: the norms below `curriculum_limit`, for instance.
        generator: Source of the draw, on the CPU.

    Returns:
        (at most count,) int64 positions on the device of the bank, ascending.

    Raises:
        ValueError: If shapes or types don't fit, or nothing is allowed.

    Reference:
        FAST (2025), arXiv:2511.19476, eq. 14.
    """
    size = len(frequencies)
    if loss.shape != (size,) or allowed.shape != (size,) or allowed.dtype != torch.bool:
        raise ValueError(
            f"`loss` and `allowed` must be ({size},), one entry a frequency, `allowed` bool, "
            f"got {tuple(loss.shape)} and {tuple(allowed.shape)} {allowed.dtype}"
        )
    if recent.ndim != 1 or recent.is_floating_point():
        raise ValueError(f"`recent` must be (R,) integer positions, got {tuple(recent.shape)} {recent.dtype}")
    open_ = allowed.nonzero()[:, 0]
    if count < 1 or len(open_) == 0:
        raise ValueError(f"`count` and the number of allowed frequencies must be at least 1, got {count}, {len(open_)}")
    if len(open_) <= count:
        return open_
    weight = loss.detach()[open_].double()
    if len(recent):
        unit = F.normalize(frequencies.detach().double(), dim=1)
        weight = weight / (1 + (unit[open_] @ unit[recent].T).abs().mean(1))
    # A loss of zero everywhere must still give a draw.
    drawn = weighted_draw(weight.clamp_min(1e-30).cpu(), count, generator=generator)
    return open_[drawn.to(open_.device)]


def _directed(normals: Tensor, log_scale: Tensor, norms: Tensor) -> Tensor:
    return F.normalize(normals * log_scale.exp(), dim=1) * norms[:, None]


def _some_rows(points: Matrix, count: int, generator: torch.Generator) -> Tensor:
    return take(points, torch.randperm(len(points), generator=generator)[:count])
