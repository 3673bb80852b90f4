"""What the terms share that rank a smoothed number from training."""

from __future__ import annotations

import math

from torch import Tensor

from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import check_clip, check_smoothing, update_average
from dynsel.selectors.terms.base import Term

__all__ = ["AverageTerm"]


class AverageTerm(Term):
    """Rank of what training tells of a sample, smoothed over its uses; samples never told of rank highest.

    Args:
        smoothing: Share of the old average that each new number leaves, in [0, 1).
        clip: Share of the samples, those of the highest averages, that rank lowest instead, in [0, 1): of losses, what
            counts as label noise.

    Attributes:
        average: (N,) float32; NaN = never told.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    average: Tensor

    def __init__(self, smoothing: float = 0.5, clip: float = 0.0) -> None:
        self.smoothing, self.clip = check_smoothing(smoothing), check_clip(clip)
        self.add_state("average", math.nan)

    def learn(self, feedback: Feedback) -> None:
        """Take what training told into each sample's average; numbers that aren't finite are passed over.

        Args:
            feedback: Any number of batches together; the (B,) numbers are in the part that `wants` names.
        """
        (part,) = self.wants
        if (told := getattr(feedback, part)) is not None:
            update_average(self.average, feedback.indices, told, self.smoothing)

    def values(self, usage: Tensor) -> Tensor:
        """Ranks of the averages (`loss_rank`).

        Args:
            usage: (N,) int32 uses so far; not used.

        Returns:
            (N,) float32 in (0, 1]; 1 for samples that nothing was told of.
        """
        return self.population.ranks(self.average, self.clip)
