"""What the selectors share that go by the losses of training."""

from __future__ import annotations

import math

from torch import Tensor

from dynsel.selectors.base import Selector
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import check_smoothing, update_average

__all__ = ["LossSelector"]


class LossSelector(Selector):
    """A selector that goes by the losses of training.

    Args:
        smoothing: Share of the old average that each new loss leaves, in [0, 1); 0 = the last loss alone.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        average: (N,) float32, each sample's average loss (`update_average`); NaN = none known.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    wants = frozenset({"per_sample_loss"})
    average: Tensor

    def __init__(self, *, smoothing: float = 0.0, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.smoothing = check_smoothing(smoothing)
        self.add_state("average", math.nan)

    def learn(self, feedback: Feedback) -> None:
        """Take the losses into each sample's average; those that aren't finite are passed over.

        Args:
            feedback: Any number of batches together; (B,) losses in `per_sample_loss`.
        """
        if feedback.per_sample_loss is not None:
            update_average(self.average, feedback.indices, feedback.per_sample_loss, self.smoothing)
