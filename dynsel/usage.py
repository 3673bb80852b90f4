"""How often each sample was trained on, and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["count_uses", "coverage", "gini", "gini_of_histogram", "usage_penalty"]


def count_uses(usage: Tensor, indices: Tensor) -> Tensor:
    """Add one use, in place, for each entry of `indices` (a sample may occur several times).

    Args:
        usage: (N,) integer counts on the CPU, changed in place.
        indices: (M,) integer positions in 0 .. N-1.

    Returns:
        The same tensor `usage`.
    """
    one = torch.ones((), dtype=usage.dtype)
    return usage.index_add_(0, indices, one.expand(len(indices)))


def usage_penalty(usage: Tensor) -> Tensor:
    """Uses of each sample relative to the mean: 1 for a sample used as often as the average, 0 for never.

    With a constant keep ratio ρ and t epochs done the mean is tρ, so this is RRD's f_i / ρ with f_i = u_i / t;
    dividing by the mean keeps that meaning when ρ changes over the epochs.

    Args:
        usage: (N,) integer counts on the CPU, at least 0.

    Returns:
        (N,) float32; all zero while nothing was used.

    Reference:
        RRD (2026), arXiv:2603.04981 (the penalty by frequency of use).
    """
    counts = usage.numpy()
    total = int(counts.sum(dtype=np.int64))
    return torch.from_numpy(np.multiply(counts, len(counts) / total if total else 0.0, dtype=np.float32))


def gini(usage: Tensor) -> float:
    """Gini coefficient of the counts: 0 when all samples were used equally, towards 1 for a monopoly.

    Counts are small whole numbers, so it is computed from their histogram in O(N + largest count).

    Args:
        usage: (N,) integer counts on the CPU, at least 0.

    Returns:
        The coefficient, in [0, 1); 0 where nothing was used.

    Reference:
        Gini (1912), Variabilità e mutabilità; the form by ranks of Dixon et al. (1987), Bootstrapping the Gini
        coefficient of inequality.

    Example:
        >>> gini(torch.tensor([0, 0, 0, 4]))
        0.75
    """
    return gini_of_histogram(np.bincount(usage.numpy()))


def gini_of_histogram(counts: np.ndarray[Any, Any]) -> float:
    """The same, see `gini`, given how many samples were used 0, 1, 2, ... times.

    Args:
        counts: (largest count + 1,) whole numbers, at least one of them above 0.

    Returns:
        The coefficient, in [0, 1); 0 where nothing was used.
    """
    histogram = counts.astype(np.float64)
    value = np.arange(len(histogram))
    n, total = float(histogram.sum()), float((histogram * value).sum())
    if total == 0:
        return 0.0
    # Samples of equal use share the mean of their ranks 1 .. N.
    rank = histogram.cumsum() - (histogram - 1) / 2
    return float(2 * (rank * value * histogram).sum() / (n * total) - (n + 1) / n)


def coverage(usage: Tensor) -> float:
    """Share of samples used at least once.

    Args:
        usage: (N,) integer uses of each sample, on the CPU.

    Returns:
        A number in [0, 1]; 0 without samples.
    """
    return int(np.count_nonzero(usage.numpy())) / len(usage) if len(usage) else 0.0
