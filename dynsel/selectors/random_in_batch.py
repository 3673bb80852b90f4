"""Random samples of each batch: what choosing inside the batch must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.batch import BatchSelector

__all__ = ["RandomInBatch"]


class RandomInBatch(BatchSelector):
    """Keeps a uniformly random part of each batch of candidates.

    Unlike `Random` nothing rotates: some samples come up less often than others, by chance. A baseline of ours, with as
    many steps on batches of the same size as any other choice inside the batch.

    Example:
        >>> selector = RandomInBatch(seed=0)
        >>> selector.bind(100)
        >>> selector.select_batch(torch.arange(40, 50), count=4, progress=0.0).tolist()
        [1, 4, 5, 7]
    """

    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        """A uniform draw without replacement.

        Args:
            candidates: (c,) int64 positions in the data set.
            count: How many stay, 1 .. c.
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """
        return torch.randperm(len(candidates), generator=self.generator)[:count].sort().values
