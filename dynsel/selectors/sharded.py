"""Choosing where each process has its own shards of the samples, and which selectors can."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.selection import balanced_top_k, largest_remainder, top_k
from dynsel.selectors.population import Population
from dynsel.selectors.shards import Reduce, Shards, class_quotas, fit_cdf, uniform_at
from dynsel.usage import gini_of_histogram

__all__ = ["ShardedPopulation"]

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 1 << 16


class ShardedPopulation(Population):
    """The samples are in canonical shards, of which this process has some: N below is the number of its samples.

    Sums, means and ranks are those of all samples. The highest are taken in each shard, as many in every one, which
    needs no exchange; of the exact top share that keeps all but about 0.4 √((1 - ρ) / q), q samples being taken of each
    shard. Nothing depends on the number of processes: draws belong to the samples, sums are whole numbers or go by
    shards.

    Args:
        shards: Which samples are where.
        reduce: Sums and maxima over the processes.
    """

    def __init__(self, shards: Shards, reduce: Reduce) -> None:
        self.shards, self.reduce = shards, reduce
        self._class_sizes: Array | None = None
        self._quotas: tuple[int, Array] | None = None

    def count_classes(self, labels: Tensor, classes: int) -> None:
        """Learn how many samples of each class every shard has, once; every process must call it.

        Args:
            labels: (N,) class codes 0 .. K-1, the same ones in every process.
            classes: Number K of classes.
        """
        codes, sizes = labels.numpy(), np.zeros((self.shards.num_shards, classes), dtype=np.int64)
        for shard, places in zip(self.shards.own, self.shards.slices(), strict=True):
            sizes[shard] = np.bincount(codes[places], minlength=classes)
        self._class_sizes = self.reduce.sum(sizes)

    # ---------------------------------------------------------------- draws
    def _drawn(self, places: Array, generator: torch.Generator) -> Array:
        # One number of the generator's for each occasion: it is then as far on every process.
        key = int(torch.randint(1 << 62, (), generator=generator))
        drawn = np.empty(len(places), dtype=np.float32)
        # A piece at a time: numbers take eight bytes each, and so does what leads to them.
        for start in range(0, len(places), CHUNK):
            piece = slice(start, start + CHUNK)
            drawn[piece] = uniform_at(self.shards.numbers(places[piece]), key)
        return drawn

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """(N,) float32 uniform draws in (0, 1); a sample's own, whichever process asks."""
        key = int(torch.randint(1 << 62, (), generator=generator))
        drawn = np.empty(count, dtype=np.float32)
        for shard, places in zip(self.shards.own, self.shards.slices(), strict=True):
            start = self.shards.offset(shard)
            drawn[places] = uniform_at(np.arange(start, start + places.stop - places.start), key)
        return torch.from_numpy(drawn)

    def uniform_of(self, rows: Array, generator: torch.Generator) -> Tensor:
        """(n,) float32 uniform draws in (0, 1) of these samples, the ones that `uniform` would have given."""
        return torch.from_numpy(self._drawn(rows, generator))

    def gumbel(self, count: int, generator: torch.Generator) -> Tensor:
        """(N,) float32 standard Gumbel noise, made of `uniform` draws."""
        noise = self.uniform(count, generator)
        return noise.log_().neg_().log_().neg_()

    def rotation(self, usage: Tensor, generator: torch.Generator) -> Tensor:
        """(N,) float32, see `rotation_scores`; counts are relative to the least used of all samples."""
        noise, counts = self.uniform(len(usage), generator).numpy(), usage.numpy()
        lowest = -int(self.reduce.max(np.array([-int(counts.min())], dtype=np.int64))[0])
        np.subtract(noise, counts - counts.dtype.type(lowest), out=noise, casting="same_kind")
        return torch.from_numpy(noise)

    def put_first(self, scores: Array, rows: Array, generator: torch.Generator) -> None:
        """Raise some scores above those of all processes, in place, in random order among themselves."""
        top = float(self.reduce.max(np.array([float(scores.max())]))[0])
        scores[rows] = self._drawn(rows, generator) + np.float32(top + 1)

    # ---------------------------------------------------------------- what they are together
    def every(self, holds: bool) -> bool:
        """Whether something holds in every process."""
        return not int(self.reduce.max(np.array([not holds], dtype=np.int64))[0])

    def largest(self, values: Tensor) -> int:
        """Largest of the numbers of all processes."""
        return int(self.reduce.max(np.array([int(values.max())], dtype=np.int64))[0])

    def total(self, usage: Tensor) -> int:
        """Sum of the counts of all processes."""
        return int(self.reduce.sum(np.array([super().total(usage)], dtype=np.int64))[0])

    def moments(self, values: Array) -> tuple[float, float] | None:
        """Mean and standard deviation over all processes of what isn't NaN; None if there are no two different ones."""
        known = values[~np.isnan(values)]
        low, high = (-float(known.min()), float(known.max())) if len(known) else (-np.inf, -np.inf)
        lowest, highest = self.reduce.max(np.array([low, high])).tolist()
        # Where no process knows any, both are -inf.
        if -lowest >= highest:
            return None
        count = self._sum_by_shards(values, lambda part: len(part))
        mean = self._sum_by_shards(values, lambda part: float(part.sum())) / count
        return mean, float(
            np.sqrt(self._sum_by_shards(values, lambda part: float(np.square(part - mean).sum())) / count)
        )

    def _sum_by_shards(self, values: Array, of: Any) -> float:
        """Sum over all shards of a number made of the known values of each."""
        # A place for each: adding zeros is exact, so that the number of processes doesn't matter.
        parts = np.zeros(self.shards.num_shards)
        for shard, places in zip(self.shards.own, self.shards.slices(), strict=True):
            mine = values[places]
            parts[shard] = of(mine[~np.isnan(mine)])
        return float(self.reduce.sum(parts).sum())

    def ranks(self, average: Tensor, clip: float) -> Tensor:
        """(N,) float32 ranks among the averages of all processes, see `fit_cdf`; 1 for the unknown."""
        values = average.numpy()
        cdf = fit_cdf(values, self.reduce, clip)
        return torch.ones(len(values)) if cdf is None else torch.from_numpy(cdf.ranks(values))

    def penalty(self, usage: Tensor) -> Tensor:
        """(N,) float32 uses relative to the mean of all samples, see `usage_penalty`."""
        total = self.total(usage)
        factor = self.shards.num_samples / total if total else 0.0
        return torch.from_numpy(np.multiply(usage.numpy(), factor, dtype=np.float32))

    def coverage(self, usage: Tensor) -> float:
        """Share of all samples used at least once."""
        used = np.array([np.count_nonzero(usage.numpy())], dtype=np.int64)
        return int(self.reduce.sum(used)[0]) / self.shards.num_samples

    def gini(self, usage: Tensor) -> float:
        """Gini coefficient of the counts of all samples."""
        counts, length = usage.numpy(), self.largest(usage) + 1
        histogram = np.zeros(length, dtype=np.int64)
        for places in self.shards.slices():
            histogram += np.bincount(counts[places], minlength=length)
        return gini_of_histogram(self.reduce.sum(histogram))

    # ---------------------------------------------------------------- choosing
    def greedy(self, size: int, epsilon: float) -> int:
        """How many go by score, as many in each shard."""
        own = len(self.shards.own)
        return own * super().greedy(size // own, epsilon)

    def highest(self, scores: Tensor, size: int, labels: Tensor | None = None, greedy: int | None = None) -> Tensor:
        """As many of each of this process's shards: `size` and `greedy` are multiples of their number."""
        own = len(self.shards.own)
        taken = []
        for shard, places in zip(self.shards.own, self.shards.slices(), strict=True):
            part, count = scores[places], (size if greedy is None else greedy) // own
            if labels is None:
                found = top_k(part, count) if count else torch.zeros(0, dtype=torch.int64)
            else:
                quotas = torch.from_numpy(self._class_quotas(size // own)[shard])
                quotas = quotas if greedy is None else largest_remainder(quotas, count)
                codes = labels[places]
                # Classes of which the shard has none have a quota of 0.
                found = balanced_top_k(part, codes, quotas=quotas[: int(codes.max()) + 1])
            taken.append(found.add_(places.start))
        return torch.cat(taken)

    def _class_quotas(self, quota: int) -> Array:
        assert self._class_sizes is not None
        if self._quotas is None or self._quotas[0] != quota:
            self._quotas = quota, class_quotas(self._class_sizes, quota)
        return self._quotas[1]
