"""Which samples an epoch trains on: the `Selection` and the exact ways to draw one from scores.

Shapes: N samples, M selected, C classes.

What is done each epoch to one number per sample is done by numpy, here and in `usage`, `selectors` and `samplers`: its
one thread goes on while loader workers fill the cores. Several of torch's wait for each other at every operation,
which made choosing among 50,000 samples take 200 ms instead of 2 on a busy machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_tensor

__all__ = [
    "Selection",
    "balanced_top_k",
    "class_balance",
    "largest_remainder",
    "random_subsets",
    "top_k",
    "weighted_draw",
]


@dataclass(frozen=True)
class Selection:
    """The samples of one epoch.

    Args:
        indices: (M,) int64, positions in the data set, in any order; each at most once.
        weights: (M,) float32 loss weight of each selected sample; None stands for 1.

    Raises:
        TypeError: If one is no tensor.
        ValueError: If `indices` is not a one-dimensional integer tensor, or `weights` does not match it
            or holds a negative, NaN or infinite value.
    """

    indices: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensor("indices", self.indices)
        if self.indices.ndim != 1 or self.indices.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                "`indices` must be a one-dimensional integer tensor, got "
                f"shape {tuple(self.indices.shape)} of {self.indices.dtype}"
            )
        if self.weights is None:
            return
        check_tensor("weights", self.weights)
        if self.weights.shape != self.indices.shape:
            raise ValueError(
                f"`weights` must have one entry a selected sample: expected shape "
                f"{tuple(self.indices.shape)}, got {tuple(self.weights.shape)}"
            )
        if not bool(torch.isfinite(self.weights).all()) or bool((self.weights < 0).any()):
            raise ValueError("`weights` must be finite and not negative")

    def __len__(self) -> int:
        return len(self.indices)


def largest_remainder(shares: Tensor | Sequence[float], total: int) -> Tensor:
    """Whole-numbered quotas in proportion to `shares` that sum to exactly `total`.

    Every class gets the whole part of its proportional quota; what is left goes, one each, to the classes
    with the largest remainders (Hamilton's method; ties to the lower class). When `shares` are class sizes
    and `total` does not exceed their sum, no quota exceeds its class.

    Args:
        shares: (C,) not negative, not all zero; class sizes, for instance.
        total: The sum of the quotas, at least 0.

    Returns:
        (C,) int64 quotas, each its exact share rounded up or down.

    Raises:
        ValueError: If `total` is negative, or the shares are negative, all zero or not finite.

    Example:
        >>> largest_remainder([50, 30, 20], 11).tolist()  # exact quotas: 5.5, 3.3, 2.2
        [6, 3, 2]
    """
    weight = torch.as_tensor(shares, dtype=torch.float64)
    if total < 0:
        raise ValueError(f"`total` must be at least 0, got {total}")
    if not bool((weight >= 0).all()) or not 0 < float(weight.sum()) < math.inf:
        raise ValueError(f"`shares` must be non-negative with a positive, finite sum, got {weight.tolist()[:8]}")
    exact = weight * total / weight.sum()
    quotas = torch.floor(exact)
    left = total - int(quotas.sum())
    winners = torch.argsort(exact - quotas, descending=True, stable=True)[:left]
    quotas[winners] += 1
    return quotas.long()


def top_k(scores: Tensor, k: int) -> Tensor:
    """The `k` highest scores: (k,) int64 positions, ascending. NaN counts as the lowest score.

    Of equal scores those at the lower positions are taken, so that every machine takes the same.

    Args:
        scores: (N,) floating point, higher = rather take it.
        k: Number to take, between 1 and N.

    Raises:
        ValueError: If `k` is out of range.
    """
    _check_count("k", k, len(scores))
    return torch.from_numpy(np.flatnonzero(_highest(_comparable(scores), k)))


def balanced_top_k(
    scores: Tensor,
    labels: Tensor,
    k: int | None = None,
    *,
    quotas: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """The highest scores within each class, exactly as many as asked: (k,) int64 positions, ascending.

    Args:
        scores: (N,) float; NaN counts as the lowest score, equal ones are taken at the lower positions first.
        labels: (N,) integer class codes 0 .. C-1.
        k: Total, shared among the classes in proportion to their sizes by `largest_remainder`.
        quotas: (C,) how many of each class, instead of `k`.

    Raises:
        ValueError: If neither or both of `k` and `quotas` are given, if `k` is outside 1 .. N, or if a
            class has fewer samples than its quota.
    """
    if (k is None) == (quotas is None):
        raise ValueError("give either `k` or `quotas`, got " + ("neither" if k is None else "both"))
    if labels.shape != scores.shape:
        raise ValueError(f"`labels` must have shape {tuple(scores.shape)}, got {tuple(labels.shape)}")
    sizes = torch.from_numpy(np.bincount(labels.numpy()))
    if k is not None:
        _check_count("k", k, len(scores))
        wanted = largest_remainder(sizes, k)
    else:
        wanted = _checked_quotas(quotas, sizes)
    # numpy sorts 16-bit integers by radix: at N = 10 million ten times the speed of a comparison sort.
    by_class = np.argsort(labels.numpy(), kind="stable")
    grouped = _comparable(scores)[by_class]
    chosen = np.zeros(len(grouped), dtype=bool)
    start = 0
    # A partition of each class takes less time than one sort of all samples, even with thousands of classes.
    for size, quota in zip(sizes.tolist(), wanted.tolist(), strict=True):
        if quota:
            chosen[start : start + size] = _highest(grouped[start : start + size], quota)
        start += size
    mask = np.empty_like(chosen)
    mask[by_class] = chosen
    return torch.from_numpy(np.flatnonzero(mask))


def random_subsets(
    total: int, size: int, repeats: int, generator: torch.Generator, labels: Tensor | None = None
) -> Tensor:
    """Subsets chosen at random, to compare a selection with: (repeats, total) bool on the CPU, `size` True in a row.

    Args:
        total: N, number of samples to choose from.
        size: M, number of samples in a subset, in 1 .. N.
        repeats: Number of subsets.
        generator: Source of one permutation of the samples per subset, on the CPU.
        labels: (N,) integer class codes 0 .. C-1: every class is then chosen in its share. None = no classes.
    """
    members = torch.zeros(repeats, total, dtype=torch.bool)
    for member in members:
        order = torch.randperm(total, generator=generator)
        # The first ones of the order; with classes, the first ones of each class.
        member[order[:size] if labels is None else balanced_top_k(-order.argsort().double(), labels, size)] = True
    return members


def class_balance(labels: Tensor, indices: Tensor) -> float:
    """How like the whole data set a selection is in its class shares: 1 minus their total variation distance.

    Args:
        labels: (N,) integer class codes 0 .. C-1 of the data set.
        indices: (M,) int64 selected positions, M at least 1.

    Returns:
        1 for the same shares, towards 0 for a single rare class.
    """
    whole = np.bincount(labels.numpy())
    chosen = np.bincount(labels.numpy().take(indices.numpy()), minlength=len(whole))
    return 1.0 - 0.5 * float(np.abs(chosen / len(indices) - whole / len(labels)).sum())


def weighted_draw(weights: Tensor, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw `k` samples without replacement, one after the other with probability proportional to `weights`.

    Takes the k largest of log(weight) + Gumbel noise, which is that distribution exactly.

    Args:
        weights: (N,) not negative; at least `k` of them positive.
        k: Number to draw, between 1 and N.
        generator: Source of the draw, on the CPU; the global one if None.

    Returns:
        (k,) int64 positions, ascending.

    Raises:
        ValueError: If `k` is out of range, or fewer than `k` weights are positive.

    Reference:
        Efraimidis and Spirakis (2006), Weighted random sampling with a reservoir, algorithm A; Kool et al.
        (2019), Stochastic beams and where to find them, arXiv:1903.06059 (by Gumbel noise).
    """
    _check_count("k", k, len(weights))
    if bool((weights < 0).any()) or not bool(torch.isfinite(weights).all()):
        raise ValueError("`weights` must be finite and not negative")
    positive = int((weights > 0).sum())
    if positive < k:
        raise ValueError(f"`weights` must have at least k = {k} positive entries, got {positive}")
    return top_k(weights.double().log() + gumbel(len(weights), generator), k)


def gumbel(size: int, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise, -log(-log U): the highest of log p + noise is a draw by p.

    Args:
        size: Number of draws, n.
        generator: Source of the draws, on the CPU; None = torch's global one.

    Returns:
        (n,) float64 on the CPU.
    """
    uniform = torch.rand(size, generator=generator, dtype=torch.float64)
    return -(-uniform.clamp_min(1e-300).log()).log()


def _highest(values: np.ndarray[Any, Any], k: int) -> np.ndarray[Any, Any]:
    """Mask of the `k` highest values, ties to the lower position."""
    # numpy's vectorised partition takes a tenth of the time of torch.topk.
    place = len(values) - k
    threshold = np.partition(values, place)[place]
    mask: np.ndarray[Any, Any] = values >= threshold
    surplus = int(np.count_nonzero(mask)) - k
    if surplus:
        mask[np.flatnonzero(values == threshold)[-surplus:]] = False
    return mask


def _comparable(scores: Tensor) -> np.ndarray[Any, Any]:
    """The scores in a type that numpy knows, without NaN."""
    scores = scores.detach().cpu()
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    values: np.ndarray[Any, Any] = scores.numpy()
    # The maximum of anything with NaN is NaN.
    return np.where(np.isnan(values), -np.inf, values) if np.isnan(values.max()) else values


def _check_count(name: str, k: int, available: int) -> None:
    if not 1 <= k <= available:
        raise ValueError(f"`{name}` must be between 1 and the number of samples, {available}, got {k}")


def _checked_quotas(quotas: Tensor | Sequence[int] | None, sizes: Tensor) -> Tensor:
    wanted = torch.as_tensor(quotas, dtype=torch.int64)
    if wanted.shape != sizes.shape:
        raise ValueError(f"`quotas` must have one entry per class: expected {len(sizes)}, got {len(wanted)}")
    short = ((wanted > sizes) | (wanted < 0)).nonzero().squeeze(1)
    if len(short):
        c = int(short[0])
        raise ValueError(
            f"class {c} has {int(sizes[c])} samples but its quota is {int(wanted[c])}; "
            "lower the keep ratio or the quota of that class"
        )
    return wanted
