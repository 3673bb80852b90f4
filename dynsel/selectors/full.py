"""Every sample, every epoch: the baseline."""

from __future__ import annotations

import torch

from dynsel.selection import Selection
from dynsel.selectors.base import Selector

__all__ = ["Full"]


class Full(Selector):
    """Selects the whole data set whatever the keep ratio: ordinary training, measured like the others."""

    exact = False

    def select(self, progress: float, size: int) -> Selection:
        """Every sample.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples that the keep ratio stands for; not used.
        """
        return Selection(torch.arange(self.num_samples))
