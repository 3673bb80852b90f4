"""What was trained on and told on this rank, which alone needs to know."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from dynsel.samplers.feedback import EpochFeedback
from dynsel.selectors import Feedback

__all__ = ["ShardedFeedback"]


class ShardedFeedback(EpochFeedback):
    """Knows this rank's batches; nothing travels, for what they held is nobody else's.

    Args:
        sampler: Feeds the batches, a `ShardedSampler`.
    """

    def collect(self, done: int, wants: Collection[str]) -> Feedback:
        """What this rank trained on in the batches before `done` that weren't collected yet.

        Args:
            done: Number of batches of this epoch that were trained on.
            wants: Names of the values to collect; NaN stands for what wasn't told.
        """
        batches = range(self.counted, done)
        used = torch.cat([self.positions(b) for b in batches])
        values: dict[str, Tensor] = {name: self._own(name, batches) for name in sorted(wants)}
        self._told, self.counted = {}, done
        self._former = {b: known for b, known in self._former.items() if b >= done}
        part: Any = self.sampler.part
        if not self._former:
            # The last one may still be asked for, by who is told of its end after us.
            part.forget(done - 1)
        return Feedback(used, **values)
