"""What a sampler of the user's own draws for an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler

__all__ = ["LeftBehind", "draw_epoch", "drawn", "index_dtype", "is_shuffle", "told_length"]

# A sampler that yields more indices than this times the length of the data set is taken for one without an end.
MOST_PASSES = 10


def draw_epoch(base: Any, length: int, *, own_batches: bool = False) -> tuple[Tensor, Tensor | None]:
    """Draw the order of an epoch.

    Args:
        base: A sampler, or with `own_batches` a batch sampler.
        length: Number of samples of its data set.
        own_batches: Whether `base` yields lists.

    Returns:
        (L,) int64 indices, and for a batch sampler (L,) int64 numbers of the batch that each belongs to, else None.

    Raises:
        TypeError: If it yields anything but whole numbers, or lists of them.
        ValueError: If it has no end, or yields an index outside the data set.
    """
    name, groups = type(base).__name__, None
    limit = max(told_length(base) or 0, MOST_PASSES * length)
    try:
        if own_batches:
            order, groups = _drawn_batches(base, limit)
        else:
            order = drawn(base, limit)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"selection by index needs a sampler of whole numbers; {name} yields something else ({error})"
        ) from error
    if len(order) > limit:
        raise ValueError(
            f"the loader's {name} yielded more than {limit:,} indices of a data set of {length:,} and didn't end: an "
            "epoch must have an end; let it stop after one pass"
        )
    if len(order) and not 0 <= int(order.min()) <= int(order.max()) < length:
        raise ValueError(f"the loader's {name} yielded an index outside 0 .. {length - 1}")
    return order, groups


def told_length(base: Any) -> int | None:
    """How many entries a sampler or loader says it yields, or batches if it yields those.

    Args:
        base: Any sampler or loader.

    Returns:
        Its length; None if it doesn't say.
    """
    try:
        return len(base)
    except (TypeError, NotImplementedError):
        return None


def drawn(sampler: Iterable[int], limit: int | None = None) -> Tensor:
    """The whole order of a sampler, (n,) int64, with the very draws that iterating it makes; no loop if it is torch's.

    Args:
        sampler: Sampler that yields indices, or lists of them.
        limit: Stop one index after so many, for one that has no end; None = never.
    """
    if type(sampler) is SequentialSampler:
        return torch.arange(len(sampler))
    if type(sampler) is SubsetRandomSampler:
        rows = torch.as_tensor(sampler.indices, dtype=torch.int64)
        return rows[torch.randperm(len(rows), generator=sampler.generator)]
    if type(sampler) is not RandomSampler or sampler.replacement:
        indices = sampler if limit is None else islice(sampler, limit + 1)
        return torch.from_numpy(np.fromiter(indices, dtype=np.int64))
    size, generator = len(sampler.data_source), sampler.generator
    if generator is None:
        seed = int(torch.empty((), dtype=torch.int64).random_().item())
        generator = torch.Generator().manual_seed(seed)
    whole, rest = divmod(sampler.num_samples, size)
    passes = [torch.randperm(size, generator=generator) for _ in range(whole)]
    # One more pass is drawn also where nothing of it is needed, which a generator of the user's own remembers.
    if rest or sampler.generator is not None:
        passes.append(torch.randperm(size, generator=generator)[:rest])
    return passes[0] if len(passes) == 1 else torch.cat(passes)


def _drawn_batches(batches: Any, limit: int) -> tuple[Tensor, Tensor]:
    """What a batch sampler yields, joined, and the number of the batch that each index belongs to."""
    found, total = [], 0
    for batch in batches:
        found.append(torch.as_tensor(list(batch), dtype=torch.int64))
        total += len(found[-1])
        if total > limit:
            break
    sizes = torch.tensor([len(batch) for batch in found], dtype=torch.int64)
    return torch.cat([torch.zeros(0, dtype=torch.int64), *found]), torch.repeat_interleave(sizes)


def is_shuffle(sampler: Any) -> bool:
    """Whether a sampler is torch's RandomSampler, or torchdata's, which draws the same, without replacement.

    Args:
        sampler: Any sampler; a subclass of torch's counts as unknown.
    """
    known = type(sampler) is RandomSampler or type(sampler).__module__.startswith("torchdata.")
    return known and isinstance(sampler, RandomSampler) and not sampler.replacement


def index_dtype(num_samples: int) -> torch.dtype:
    """The smallest integer type that holds every position in a data set.

    Args:
        num_samples: Number of samples, N.

    Returns:
        int32 up to N = 2³¹, int64 above.
    """
    return torch.int32 if num_samples <= 2**31 else torch.int64


class LeftBehind(Sampler[int]):
    """Stands for the user's sampler in a copy."""

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("a copy of a selection has no data to feed from: call `wrap(loader)` first")
