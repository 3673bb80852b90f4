"""How many samples of each class each shard gives: whole numbers that are right in both sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dynsel.selection import largest_remainder

__all__ = ["class_quotas"]

Integers = np.ndarray[Any, np.dtype[np.int64]]


def class_quotas(sizes: Integers, quota: int) -> Integers:
    """Quotas of the classes in each shard: `quota` in every shard, and in sum the share of every class.

    Each class's exact quotas are rounded so that what one shard gets too little the next gets more (cumulative
    rounding), which makes the classes right; then single samples are moved between a shard that has too many and one
    that has too few, where rounding was off most, which makes the shards right. A class whose share can't be met then,
    because the shards that have room have no more of it, is off by as much.

    Args:
        sizes: (C, K) int64, samples of each class in each shard; no shard has fewer than `quota`.
        quota: Samples that each shard gives.

    Returns:
        (C, K) int64; no entry is above its size, and every row sums to `quota` exactly.

    Raises:
        ValueError: If a shard has fewer samples than that.

    Example:
        >>> class_quotas(np.array([[6, 4], [5, 5]]), 5).tolist()
        [[3, 2], [3, 2]]
    """
    if int(sizes.sum(1).min()) < quota:
        raise ValueError(f"`quota` must be at most the samples of every shard, got {quota} of {sizes.sum(1).min()}")
    if not quota:
        return np.zeros_like(sizes)
    of_class = largest_remainder(torch.from_numpy(sizes.sum(0)), quota * len(sizes)).numpy()
    exact = sizes * (of_class / np.maximum(sizes.sum(0), 1))
    sums = np.floor(np.cumsum(exact, axis=0) + 0.5)
    sums[-1] = of_class
    given = np.diff(sums, axis=0, prepend=0).astype(np.int64)
    np.clip(given, 0, sizes, out=given)
    _level(given, exact, sizes, quota)
    return given


def _level(given: Integers, exact: np.ndarray[Any, Any], sizes: Integers, quota: int) -> None:
    """Move single samples until every shard gives its quota, in place."""
    surplus = given.sum(1) - quota
    while surplus.any():
        many, few = int(surplus.argmax()), int(surplus.argmin())
        off = given - exact
        give = np.where(given[many] > 0, off[many], -np.inf) if surplus[many] > 0 else None
        take = np.where(given[few] < sizes[few], -off[few], -np.inf) if surplus[few] < 0 else None
        if give is not None and take is not None and np.isfinite(best := (give + take).max()):
            give = take = np.where(give + take == best, 0.0, -np.inf)
        if give is not None:
            given[many, int(give.argmax())] -= 1
            surplus[many] -= 1
        if take is not None:
            given[few, int(take.argmax())] += 1
            surplus[few] += 1
