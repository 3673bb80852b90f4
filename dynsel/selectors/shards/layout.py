"""Canonical shards: the parts of a data set that ranks own, the same ones for any number of ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dynsel._lib.checks import check_integer
from dynsel.selectors.shards.permutation import Permutation

__all__ = ["Shards", "default_shards"]

Integers = np.ndarray[Any, np.dtype[Any]]

# Quotas are the less exact the more shards there are, and so many suit most numbers of ranks.
FEWEST = 64


def default_shards(num_ranks: int) -> int:
    """Number of shards for a run that begins on so many ranks: the least multiple of them that is at least 64."""
    return math.ceil(FEWEST / num_ranks) * num_ranks


class Shards:
    """N samples in C shards, of which each of R ranks owns C / R.

    The data set is shuffled by a permutation that is computed, not stored; shard c is a run of the shuffled order, one
    longer for the first N mod C. Rank r owns the shards c = r, r + R, ..., and knows their samples by a *place*, from 0
    on, shard after shard. A sample's number in the shuffled order is its *number*; it depends on neither C nor R.
    Without the shuffle shards would be blocks of the data set, and of a sorted one half of the best would be lost.

    Args:
        num_samples: Number N of samples, at least C.
        num_shards: Number C of shards, at least 1; R must divide it.
        num_ranks: Number R of ranks, at least 1.
        rank: Number of this rank, from 0.
        seed: Seed of the shuffle.

    Raises:
        ValueError: If there are fewer samples than shards, or R doesn't divide C.

    Example:
        >>> shards = Shards(10, 4, num_ranks=2, rank=1, seed=0)
        >>> shards.own, shards.lengths.tolist()
        ([1, 3], [3, 2])
        >>> shards.numbers(np.arange(5)).tolist()
        [3, 4, 5, 8, 9]

    Reference:
        The layout is ours; the permutation has its sources in `Permutation`.
    """

    def __init__(self, num_samples: int, num_shards: int, *, num_ranks: int = 1, rank: int = 0, seed: int = 0) -> None:
        self.num_samples, self.num_ranks, self.rank = num_samples, num_ranks, rank
        self.num_shards = check_integer("num_shards", num_shards, at_least=1)
        if num_shards % num_ranks:
            fitting = [r for r in range(1, num_shards + 1) if num_shards % r == 0]
            raise ValueError(
                f"{num_ranks} ranks can't share {num_shards} shards evenly; numbers of ranks that can: "
                f"{', '.join(map(str, fitting))}"
            )
        if num_samples < num_shards:
            raise ValueError(
                f"{num_samples} samples don't fill {num_shards} shards: leave `sharded` out, it is made for millions"
            )
        self.shuffle = Permutation(num_samples, seed)
        self.own = list(range(rank, num_shards, num_ranks))
        self._first = [self.offset(c) for c in range(num_shards + 1)]
        self.lengths: Integers = np.array([self._first[c + 1] - self._first[c] for c in self.own], dtype=np.int64)
        ends = np.cumsum(self.lengths)
        self._starts: Integers = ends - self.lengths
        # What must be added to a place to have the sample's number, shard by shard.
        self._shift: Integers = np.array([self._first[c] for c in self.own], dtype=np.int64) - self._starts

    def offset(self, shard: int) -> int:
        """Number of the first sample of a shard."""
        whole, rest = divmod(self.num_samples, self.num_shards)
        return shard * whole + min(shard, rest)

    @property
    def num_own(self) -> int:
        """Number of samples of this rank."""
        return int(self.lengths.sum())

    def slices(self) -> list[slice]:
        """The places of each of this rank's shards."""
        return [slice(int(a), int(a + n)) for a, n in zip(self._starts, self.lengths, strict=True)]

    def quota(self, samples: int) -> int:
        """Samples of each shard where a selection is to have `samples`: rounded up, as far as every shard has them.

        A selection then has as many samples in each shard, at most C - 1 more than asked for; and one of all samples
        leaves out N mod C.
        """
        return min(self.num_samples // self.num_shards, math.ceil(samples / self.num_shards))

    # ---------------------------------------------------------------- places, numbers, indices
    def numbers(self, places: Integers) -> Integers:
        """(n,) int64 numbers in the shuffled order of places of this rank, (n,) whole numbers."""
        shard = np.searchsorted(self._starts, places, side="right") - 1
        numbers: Integers = places + self._shift[shard]
        return numbers

    def indices(self, places: Integers) -> Integers:
        """(n,) int64 data set indices of places of this rank."""
        return self.shuffle(self.numbers(places))

    def places(self, indices: Integers) -> Integers:
        """(n,) int64 places of data set indices; -1 where another rank owns the sample."""
        numbers = self.shuffle.inverse(indices)
        shard = np.searchsorted(self._first, numbers, side="right") - 1
        mine = np.minimum((shard - self.rank) // self.num_ranks, len(self.own) - 1)
        places = np.where(shard % self.num_ranks == self.rank, numbers - self._shift[mine], -1)
        return places.astype(np.int64)
