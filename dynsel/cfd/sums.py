"""Characteristic functions of many rows as sums, of one set or of many subsets at once; public as `dynsel.cfd`.

What goes over the rows of a feature matrix is done in blocks, on the device of the features, in float32 with
float64 sums, and without gradients. `torch.set_float32_matmul_precision` below "highest" coarsens the angles t·x.

Shapes: N samples, d feature dim, F frequencies, K subsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix, blocks, check_matrix, take
from dynsel.cfd.distances import cfd
from dynsel.selection import random_subsets

__all__ = ["CharacteristicSums", "characteristic_sums", "random_distances", "subset_distances", "subset_values"]

_BLOCK_VALUES = 2**22  # 16 MB of angles: on a busy machine each of torch's operations costs milliseconds of waiting
_BLOCK_ROWS = 2**14  # float32 sums of so many are good to 1e-6 of their size


@dataclass(frozen=True, eq=False)
class CharacteristicSums:
    """The characteristic function of a weighted set as sums, which parts of the set simply add.

    Args:
        cos: (F,) float64, Σ w cos(t·x).
        sin: (F,) float64, Σ w sin(t·x).
        total: Sum of the weights, Σ w.

    Example:
        >>> one = CharacteristicSums(torch.tensor([1.0]), torch.tensor([0.0]), 1.0)
        >>> two = CharacteristicSums(torch.tensor([0.0]), torch.tensor([1.0]), 1.0)
        >>> (one + two).value().tolist()
        [(0.5+0.5j)]

    Reference:
        Feuerverger, Mureika (1977), The Empirical Characteristic Function and Its Applications, Annals of Statistics 5
        (for the function; that sums add over parts and ranks is plain arithmetic).
    """

    cos: Tensor
    sin: Tensor
    total: float

    def __add__(self, other: CharacteristicSums) -> CharacteristicSums:
        return CharacteristicSums(self.cos + other.cos, self.sin + other.sin, self.total + other.total)

    def value(self) -> Tensor:
        """(F,) complex128, the characteristic function.

        Raises:
            ValueError: If the weights sum to nothing.
        """
        if not self.total > 0:
            raise ValueError(f"the weights must have a positive sum, got {self.total}; add samples first")
        return torch.complex(self.cos.double(), self.sin.double()) / self.total


@torch.no_grad()
def characteristic_sums(features: Matrix, frequencies: Tensor, weights: Tensor | None = None) -> CharacteristicSums:
    """Sums of cos and sin over all rows. Rows of weight zero are not read, so a mask gives a subset's.

    Args:
        features: (N, d) floating-point tensor, array or memory map; float16 is fine.
        frequencies: (F, d) floating point, the frequencies t.
        weights: (N,) not negative, of any type: usage counts, for instance; None = 1 each.

    Returns:
        Sums over all rows, (F,) float64 on the device of the features.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, a weight is negative or not finite, or a row of weight is not finite
            (the message names the rows).
    """
    check_shapes(features, frequencies)
    if weights is None:
        cos, sin = _sums(features, frequencies, None)
        return CharacteristicSums(cos[0], sin[0], float(len(features)))
    weights = check_weights(weights, len(features))
    chosen = weights.nonzero()[:, 0]
    cos, sin = _sums(features, frequencies, weights[chosen][None], chosen)
    return CharacteristicSums(cos[0], sin[0], float(weights.sum()))


@torch.no_grad()
def subset_distances(features: Matrix, frequencies: Tensor, members: Tensor, value: Tensor) -> Tensor:
    """CFD of many subsets at once, which takes hardly longer than that of one: to compare with random ones.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, the frequencies t.
        members: (K, N) bool, on the CPU: which samples each subset holds, at least one each.
        value: (F,) complex, the characteristic function to compare with.

    Returns:
        (K,) float64, each in [0, 4], on the device of the features.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, a subset is empty, or a row isn't finite (the message names the rows).
    """
    return cfd(subset_values(features, frequencies, members), value)


@torch.no_grad()
def subset_values(features: Matrix, frequencies: Tensor, members: Tensor) -> Tensor:
    """Characteristic functions of many subsets at once, which takes hardly longer than that of one.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, the frequencies t.
        members: (K, N) bool, on the CPU: which samples each subset holds, at least one each.

    Returns:
        (K, F) complex128 on the device of the features.

    Raises:
        ValueError: If shapes don't fit, or a subset is empty.
    """
    check_shapes(features, frequencies)
    if members.ndim != 2 or members.shape[1] != len(features) or members.dtype != torch.bool:
        raise ValueError(f"`members` must be (K, {len(features)}) bool, got {tuple(members.shape)} {members.dtype}")
    sizes = members.sum(1, keepdim=True)
    if not bool((sizes > 0).all()):
        raise ValueError("every subset in `members` must hold at least one sample")
    cos, sin = _sums(features, frequencies, members)
    return torch.complex(cos, sin) / sizes.to(cos.device)


def random_distances(
    features: Matrix, frequencies: Tensor, value: Tensor, size: int, repeats: int, generator: torch.Generator
) -> Tensor:
    """CFD of random subsets of the rows, drawn without replacement: what chance gives at this size.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, the frequencies t.
        value: (F,) complex, the characteristic function to compare with, usually that of all rows.
        size: Number of samples of each subset, 1 .. N.
        repeats: Number K of subsets, at least 1.
        generator: Source of the draws, on the CPU.

    Returns:
        (K,) float64, each at least 0, on the device of the features; `random_floor` is their expectation.
    """
    members = random_subsets(len(features), size, repeats, generator)
    return subset_distances(features, frequencies, members, value)


def check_weights(weights: Tensor, count: int) -> Tensor:
    """The weights of some rows as float64 on the CPU.

    Args:
        weights: (N,) numbers of any type, at least 0.
        count: Number N of rows.

    Returns:
        (N,) float64, without gradient.

    Raises:
        ValueError: If the shape doesn't fit, or a weight is negative or not finite.
    """
    if weights.shape != (count,):
        raise ValueError(f"`weights` must be ({count},), one per row, got {tuple(weights.shape)}")
    weights = weights.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("`weights` must be finite and not negative")
    return weights


def angles_of(
    features: Matrix, frequencies: Tensor, shift: Tensor | None = None, chosen: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The angles t·x + shift, block by block; the next block overwrites those of the last.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, the frequencies t.
        shift: (F,) float32 on the device of the features, added to each row's angles; None = nothing.
        chosen: (R,) int64 on the CPU, rows to go over; None = all.

    Yields:
        The block's places among the chosen rows, a slice, and its (B, F) float32 angles on the device of the features.
    """
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
    for rows, angles in angles_of(features, frequencies, chosen=chosen):
        mass = torch.ones(1, len(angles)) if masses is None else masses[:, rows]
        mass = mass.to(place, torch.float32)
        wave = torch.empty_like(angles) if wave is None else wave
        cos += torch.mm(mass, torch.cos(angles, out=wave[: len(angles)]), out=part)
        sin += torch.mm(mass, angles.sin_(), out=part)
    if not bool(torch.isfinite(cos).all()):
        explain(features)
    return cos, sin


def check_shapes(features: Matrix, frequencies: Tensor) -> None:
    """Check that features and frequencies belong together, without reading more than one row of the features.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, finite.

    Raises:
        TypeError: If either isn't a tensor or array, or not floating point.
        ValueError: If either isn't 2-D or is empty, their numbers of columns differ, or a frequency isn't finite.
    """
    check_matrix(frequencies, "frequencies")
    # Looking for NaN would read all rows once more; the results show them.
    check_matrix(features[:1] if getattr(features, "ndim", 0) == 2 else features)
    if features.shape[1] != frequencies.shape[1]:
        raise ValueError(
            f"`frequencies` must be (F, {features.shape[1]}) for these features, got {tuple(frequencies.shape)}"
        )


def explain(features: Matrix) -> None:
    """Say why a result isn't finite, by reading all rows again; never returns.

    Args:
        features: (N, d) floating-point tensor, array or memory map.

    Raises:
        ValueError: Always: with the rows that aren't finite or too large, or else that products exceed float32.
    """
    check_matrix(features)
    raise ValueError("`features` times `frequencies` must stay within float32; standardize the features")
