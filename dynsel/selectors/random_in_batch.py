"""Random samples of each batch: what choosing inside the batch must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.batch import BatchSelector

__all__ = ["RandomInBatch"]


class RandomInBatch(BatchSelector):
    """Keeps a uniformly random part of each batch of candidates.

    Unlike `Random` nothing rotates: some samples come up less often than others, by chance.

    Example:
        >>> selector = RandomInBatch(seed=0)
        >>> selector.bind(100)
        >>> selector.select_batch(torch.arange(40, 50), keep=4, progress=0.0).tolist()
        [1, 4, 5, 7]
    """

    def select_batch(self, candidates: Tensor, keep: int, progress: float) -> Tensor:
        return torch.randperm(len(candidates), generator=self.generator)[:keep].sort().values
