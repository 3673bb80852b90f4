"""What a choice asks of all samples together: ranks, means, draws, the highest ones.

Selectors ask here instead of looking at their own arrays, so that the same lines choose where a process has only its
own shards of the samples (`dynsel.selectors.sharded`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.selection import balanced_top_k, gumbel, largest_remainder, top_k
from dynsel.selectors.ranking import loss_rank, put_first, rotation_scores
from dynsel.selectors.shards.cdf import Alone, fit_cdf
from dynsel.usage import coverage, gini, usage_penalty

__all__ = ["Population"]

Array = np.ndarray[Any, np.dtype[Any]]

# Samples from which on counting in cells is much faster than sorting: 2.4 s instead of 17 on a busy machine.
SORTED_UNTIL = 5_000_000


class Population:
    """All samples are at hand: every answer is that of the pure function of the same name.

    Its methods are asked in the same order by every process that shares the samples, whatever its own look like.
    """

    # ---------------------------------------------------------------- draws
    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) float32 uniform draws in [0, 1), one for each sample at hand."""
        return torch.rand(count, generator=generator)

    def uniform_of(self, rows: Array, generator: torch.Generator) -> Tensor:
        """(n,) float32 uniform draws in [0, 1), one for each of these samples; none are fine."""
        return torch.rand(len(rows), generator=generator)

    def gumbel(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) float32 standard Gumbel noise, one number for each sample at hand."""
        return gumbel(count, generator).float()

    def rotation(self, usage: Tensor, generator: torch.Generator) -> Tensor:
        """(N,) float32, see `rotation_scores`."""
        return rotation_scores(usage, generator)

    def put_first(self, scores: Array, rows: Array, generator: torch.Generator) -> None:
        """Raise some scores above all others, in place, see `ranking.put_first`.

        Args:
            scores: (N,) floating point, finite.
            rows: (n,) positions of those that go first; none is fine.
            generator: Source of their random order.
        """
        put_first(scores, rows, generator)

    # ---------------------------------------------------------------- what they are together
    def every(self, holds: bool) -> bool:
        """Whether something holds for all samples.

        Args:
            holds: Whether it does for those at hand.
        """
        return holds

    def largest(self, values: Tensor) -> int:
        """Largest of the numbers (N,)."""
        return int(values.max())

    def total(self, usage: Tensor) -> int:
        """Sum of the counts (N,)."""
        return int(usage.numpy().sum(dtype=np.int64))

    def moments(self, values: Array) -> tuple[float, float] | None:
        """Mean and standard deviation of what is known.

        Args:
            values: (N,) float64; NaN = not known.

        Returns:
            Both, of the values that aren't NaN; None if no two of them differ.
        """
        known = values[~np.isnan(values)]
        if not len(known) or known.min() == known.max():
            return None
        return float(known.mean()), float(known.std())

    def ranks(self, average: Tensor, clip: float) -> Tensor:
        """(N,) float32, see `loss_rank`; from five million samples on to within 1e-4, in a seventh of the time."""
        if len(average) < SORTED_UNTIL:
            return loss_rank(average, clip)
        cdf = fit_cdf(average.numpy(), Alone(), clip)
        return torch.ones(len(average)) if cdf is None else torch.from_numpy(cdf.ranks(average.numpy()))

    def penalty(self, usage: Tensor) -> Tensor:
        """(N,) float32, see `usage_penalty`."""
        return usage_penalty(usage)

    def coverage(self, usage: Tensor) -> float:
        """Share of samples used at least once, in [0, 1].

        Args:
            usage: (N,) int32 uses of the samples at hand.
        """
        return coverage(usage)

    def gini(self, usage: Tensor) -> float:
        """Gini coefficient of the uses, in [0, 1).

        Args:
            usage: (N,) int32 uses of the samples at hand.
        """
        return gini(usage)

    # ---------------------------------------------------------------- choosing
    def greedy(self, size: int, epsilon: float) -> int:
        """How many of `size` samples go by score where a share ε of them is drawn."""
        return size - int(epsilon * size + 0.5)

    def highest(self, scores: Tensor, size: int, labels: Tensor | None = None, greedy: int | None = None) -> Tensor:
        """The samples of highest score, int64 ascending, in each class if there are labels.

        Args:
            scores: (N,) float.
            size: Number to take.
            labels: (N,) class codes; None = no classes.
            greedy: Take only so many of them, in every class its part of what it has in `size`.
        """
        if labels is None:
            return top_k(scores, size if greedy is None else greedy)
        if greedy is None:
            return balanced_top_k(scores, labels, size)
        # Shares of the quotas, not of the classes: only then none is above its quota.
        quotas = largest_remainder(torch.bincount(labels), size)
        return balanced_top_k(scores, labels, quotas=largest_remainder(quotas, greedy))
