"""Doubt: labels that the model contradicts again and again count against their samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import check_smoothing, update_average
from dynsel.selectors.terms.base import Term

__all__ = ["Doubt"]


class Doubt(Term):
    """exp(-e), where e is how much a sample's loss exceeds the entropy of its predicted classes, smoothed over uses.

    The entropy is the loss that a calibrated model expects. Of right labels the loss is as high on average, easy or
    hard, and e is about 0; a label that contradicts the model exceeds it again and again. So 1 says that there is
    nothing to doubt, and 0.1 that the label was ten times less likely than what the model expected of any. Put beside
    `uncertainty` with half of its weight, it keeps the choice among uncertain samples from those of doubtful labels.
    Where the loss stands in for the entropy, as in regression, nothing is doubted.

    Args:
        smoothing: Share of the old average that each new excess leaves, in [0, 1).

    Attributes:
        average: (N,) float32 smoothed excess in nats; NaN = never told, which counts as nothing to doubt.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Example:
        >>> term = Doubt()
        >>> term.bind(3)
        >>> losses, entropies = torch.tensor([0.2, 2.6]), torch.tensor([0.3, 0.3])
        >>> term.learn(Feedback(torch.arange(2), per_sample_loss=losses, value=entropies))
        >>> [round(value, 3) for value in term.values(torch.zeros(3)).tolist()]
        [1.0, 0.1, 1.0]

    Reference:
        The term is ours.
    """

    wants = frozenset({"per_sample_loss", "value"})
    average: Tensor

    def __init__(self, smoothing: float = 0.5) -> None:
        self.smoothing = check_smoothing(smoothing)
        self.add_state("average", math.nan)

    def learn(self, feedback: Feedback) -> None:
        """Take how much each loss exceeds its entropy into the sample's average; what isn't finite is passed over.

        Args:
            feedback: Any number of batches together; (B,) losses in `per_sample_loss`, (B,) entropies in `value`.
        """
        losses, entropies = feedback.per_sample_loss, feedback.value
        if losses is not None and entropies is not None:
            update_average(self.average, feedback.indices, losses - entropies, self.smoothing)

    def values(self, usage: Tensor) -> Tensor:
        """exp(-e) of the smoothed excess e, negative ones taken as 0.

        Args:
            usage: (N,) int32 uses so far; not used.

        Returns:
            (N,) float32 in [0, 1]; 1 for samples that nothing was told of.
        """
        return torch.exp(-self.average.nan_to_num(0.0).clamp_min(0.0))
