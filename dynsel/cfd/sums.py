"""Empirical characteristic functions: how far a subset is from the whole set, and which samples bring it nearer.

The characteristic function of samples x with weights w at a frequency t is φ(t) = Σ w e^{i t·x} / Σ w. The
characteristic function distance (CFD) of two sets is the mean of |φ_a - φ_b|² over frequencies; with t drawn from
N(0, s² I) it is the squared maximum mean discrepancy under the kernel exp(-s² ‖x - y‖² / 2).

Shapes: N samples, d feature dim, F frequencies, M points, K subsets.

What goes over the rows of a feature matrix is done in blocks, on the device of the features, in float32 with
float64 sums, and without gradients; `characteristic_function` is for the few points inside an optimisation.
`torch.set_float32_matmul_precision` below "highest" coarsens the angles t·x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dynsel._lib.matrices import Matrix, blocks, check_matrix, take
from dynsel.cfd.distances import amplitude_phase, cfd, characteristic_function, phase_decoupled, squared
from dynsel.cfd.frequencies import (
    anisotropic_frequencies,
    curriculum_limit,
    frequency_bands,
    gaussian_frequencies,
    median_scale,
    progressive_draw,
)

__all__ = [
    "CharacteristicSums",
    "amplitude_phase",
    "anisotropic_frequencies",
    "cfd",
    "characteristic_function",
    "characteristic_sums",
    "curriculum_limit",
    "frequency_bands",
    "gaussian_frequencies",
    "marginal_gain",
    "median_scale",
    "phase_decoupled",
    "progressive_draw",
    "random_floor",
    "subset_distances",
    "witness",
]

_BLOCK_VALUES = 2**22  # 16 MB of angles: on a busy machine each of torch's operations costs milliseconds of waiting
_BLOCK_ROWS = 2**14  # float32 sums of so many are good to 1e-6 of their size


@dataclass(frozen=True, eq=False)
class CharacteristicSums:
    """The characteristic function of a weighted set as sums, which parts of the set and ranks simply add.

    Args:
        cos: (F,) float64, Σ w cos(t·x).
        sin: (F,) float64, Σ w sin(t·x).
        total: Σ w.

    Example:
        >>> one = CharacteristicSums(torch.tensor([1.0]), torch.tensor([0.0]), 1.0)
        >>> two = CharacteristicSums(torch.tensor([0.0]), torch.tensor([1.0]), 1.0)
        >>> (one + two).value().tolist()
        [(0.5+0.5j)]
    """

    cos: Tensor
    sin: Tensor
    total: float

    def __add__(self, other: CharacteristicSums) -> CharacteristicSums:
        return CharacteristicSums(self.cos + other.cos, self.sin + other.sin, self.total + other.total)

    def __sub__(self, other: CharacteristicSums) -> CharacteristicSums:
        return CharacteristicSums(self.cos - other.cos, self.sin - other.sin, self.total - other.total)

    def value(self) -> Tensor:
        """(F,) complex128, the characteristic function.

        Raises:
            ValueError: If the weights sum to nothing.
        """
        if not self.total > 0:
            raise ValueError(f"the weights must have a positive sum, got {self.total}; add samples first")
        return torch.complex(self.cos.double(), self.sin.double()) / self.total

    def reduced(self) -> CharacteristicSums:
        """The sums over all ranks, on every rank; these sums themselves without a process group."""
        if not (dist.is_available() and dist.is_initialized()):
            return self
        packed = torch.cat([self.cos, self.sin, self.cos.new_tensor([self.total])])
        # NCCL knows no CPU tensors, gloo's build may know no others.
        packed = packed.to("cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(packed)
        packed, count = packed.to(self.cos.device), len(self.cos)
        return CharacteristicSums(packed[:count], packed[count:-1], float(packed[-1]))


@torch.no_grad()
def characteristic_sums(features: Matrix, frequencies: Tensor, weights: Tensor | None = None) -> CharacteristicSums:
    """Sums of cos and sin over all rows. Rows of weight zero are not read, so a mask gives a subset's.

    Args:
        features: (N, d) floating-point tensor, array or memory map; float16 is fine.
        frequencies: (F, d).
        weights: (N,) not negative, of any type: usage counts, for instance; None = 1 each.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, a weight is negative or not finite, or a row of weight is not finite
            (the message names the rows).
    """
    _check(features, frequencies)
    if weights is None:
        cos, sin = _sums(features, frequencies, None)
        return CharacteristicSums(cos[0], sin[0], float(len(features)))
    if weights.shape != (len(features),):
        raise ValueError(f"`weights` must be ({len(features)},), one a row, got {tuple(weights.shape)}")
    weights = weights.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("`weights` must be finite and not negative")
    chosen = weights.nonzero()[:, 0]
    cos, sin = _sums(features, frequencies, weights[chosen][None], chosen)
    return CharacteristicSums(cos[0], sin[0], float(weights.sum()))


@torch.no_grad()
def subset_distances(features: Matrix, frequencies: Tensor, members: Tensor, value: Tensor) -> Tensor:
    """CFD of many subsets at once, which takes hardly longer than that of one: to compare with random ones.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d).
        members: (K, N) bool, on the CPU: which samples each subset holds, at least one each.
        value: (F,) complex, the characteristic function to compare with.

    Returns:
        (K,) float64.
    """
    _check(features, frequencies)
    if members.ndim != 2 or members.shape[1] != len(features) or members.dtype != torch.bool:
        raise ValueError(f"`members` must be (K, {len(features)}) bool, got {tuple(members.shape)} {members.dtype}")
    sizes = members.sum(1, keepdim=True)
    if not bool((sizes > 0).all()):
        raise ValueError("every subset in `members` must hold at least one sample")
    cos, sin = _sums(features, frequencies, members)
    return cfd(torch.complex(cos, sin) / sizes.to(cos.device), value)


@torch.no_grad()
def witness(features: Matrix, frequencies: Tensor, gap: Tensor) -> Tensor:
    """For each sample, how much adding a little of it brings the characteristic function nearer to its aim.

    With a gap g = φ_aim - φ_now, adding a share ε of sample x changes the CFD by -2 ε (witness(x) - c) to first
    order, where the constant c = mean Re(ḡ φ_now) is the same for all samples.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d).
        gap: (F,) complex: of the whole set minus of what was trained on, for instance.

    Returns:
        (N,) float32 on the device of the features, the mean over t of Re(ḡ e^{i t·x}); higher = rather take it.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, or the gap or a row isn't finite (the message names the rows).

    Reference:
        Jitkrittum et al. (2016), Interpretable Distribution Features with Maximum Testing Power,
        arXiv:1605.06796 (the witness function of two samples).
    """
    _check(features, frequencies)
    if gap.shape != (len(frequencies),) or not gap.is_complex():
        raise ValueError(f"`gap` must be ({len(frequencies)},) complex, got {tuple(gap.shape)} {gap.dtype}")
    if not bool(torch.isfinite(gap).all()):
        raise ValueError("`gap` must be finite")
    place = features.device if isinstance(features, Tensor) else torch.device("cpu")
    size = (gap.abs() / len(gap)).to(place, torch.float32)
    # Re(ḡ e^{iθ}) = |g| cos(θ - arg g): one cosine instead of a cosine and a sine.
    shift = -gap.angle().to(place, torch.float32)
    scores = torch.empty(len(features), device=place)
    for rows, angles in _angles(features, frequencies, shift):
        torch.mv(angles.cos_(), size, out=scores[rows])
    if not bool(torch.isfinite(scores).all()):
        _explain(features)
    return scores


def marginal_gain(
    features: Matrix, frequencies: Tensor, now: CharacteristicSums, aim: Tensor, weight: float = 1.0
) -> Tensor:
    """For each sample, by how much exactly the CFD to `aim` falls when the sample is added.

    Ranks samples as `witness` does when `weight` is small beside `now.total`, at the same cost.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d).
        now: What there is, of positive total.
        aim: (F,) complex.
        weight: Weight with which a sample is added, above 0.

    Returns:
        (N,) float32, CFD before minus CFD after; higher = rather take it.
    """
    if not weight > 0:
        raise ValueError(f"`weight` must be above 0, got {weight}")
    value, share = now.value(), weight / (now.total + weight)
    aim = aim.to(value)
    scores = witness(features, frequencies, aim - (1 - share) * value)
    # |g|² - |g - ε (e - φ)|² with |e| = 1; what doesn't depend on the sample:
    drift = ((aim - value) * value.conj()).real.mean()
    constant = 2 * share * drift + share**2 * (1 + squared(value).mean())
    return scores.mul_(2 * share).sub_(float(constant))


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


def _angles(
    features: Matrix, frequencies: Tensor, shift: Tensor | None = None, chosen: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """(rows of `chosen`, (B, F) float32 angles t·x + shift) in turn; the next block overwrites the angles."""
    place = features.device if isinstance(features, Tensor) else torch.device("cpu")
    transposed = frequencies.detach().to(place, torch.float32).T
    dim, count = transposed.shape
    shift = torch.zeros(count, device=place) if shift is None else shift
    size = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // max(dim, count)))
    buffer = torch.empty(min(size, len(features)), count, device=place)
    for rows in blocks(features if chosen is None else chosen[:, None], size):
        x = take(features, rows if chosen is None else chosen[rows])
        # `out=`, here and elsewhere, also keeps autocast from rounding the angles.
        yield rows, torch.addmm(shift, x, transposed, out=buffer[: len(x)])


def _sums(
    features: Matrix, frequencies: Tensor, masses: Tensor | None, chosen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(K, F) float64 sums of cos and sin over the chosen rows with (K, rows) masses, None = one set of 1 each."""
    place = features.device if isinstance(features, Tensor) else torch.device("cpu")
    sets = 1 if masses is None else len(masses)
    cos = torch.zeros(sets, len(frequencies), dtype=torch.float64, device=place)
    sin, part = torch.zeros_like(cos), torch.empty_like(cos, dtype=torch.float32)
    wave: Tensor | None = None
    for rows, angles in _angles(features, frequencies, chosen=chosen):
        mass = torch.ones(1, len(angles)) if masses is None else masses[:, rows]
        mass = mass.to(place, torch.float32)
        wave = torch.empty_like(angles) if wave is None else wave
        cos += torch.mm(mass, torch.cos(angles, out=wave[: len(angles)]), out=part)
        sin += torch.mm(mass, angles.sin_(), out=part)
    if not bool(torch.isfinite(cos).all()):
        _explain(features)
    return cos, sin


def _check(features: Matrix, frequencies: Tensor) -> None:
    check_matrix(frequencies, "frequencies")
    # Looking for NaN would read all rows once more; the results show them.
    check_matrix(features[:1] if getattr(features, "ndim", 0) == 2 else features)
    if features.shape[1] != frequencies.shape[1]:
        raise ValueError(
            f"`frequencies` must be (F, {features.shape[1]}) for these features, got {tuple(frequencies.shape)}"
        )


def _explain(features: Matrix) -> None:
    """Say why a result isn't finite."""
    check_matrix(features)
    raise ValueError("`features` times `frequencies` must stay within float32; standardise the features")
