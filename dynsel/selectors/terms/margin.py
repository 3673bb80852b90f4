"""Margin: labels that lose to another class over training count against their samples."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.feedback import Feedback
from dynsel.selectors.terms.base import Term

__all__ = ["Margin"]


class Margin(Term):
    """exp(min(0, m)), where m is the mean margin of the label over the uses of its sample, the area under the margin.

    The margin is the logit of the label minus the highest other one; exp of it is how many times more probable the
    label is than the best other class. So 1 says that the label has been the model's own choice on average, and 0.1
    that another class has been ten times more probable. Samples never told of have 1. To be put beside a term that asks
    for samples, as `uncertainty`: by itself it takes nearly all samples for equal.

    Attributes:
        total: (N,) float64, sum of the margins so far.
        seen: (N,) int32, how many they are.

    Reference:
        Pleiss et al. (2020), Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS,
        arXiv:2001.10528 (the mean margin; they compare it with that of samples of a class of their own).

    Example:
        >>> term = Margin()
        >>> term.bind(3)
        >>> term.learn(Feedback(torch.tensor([0, 1, 1]), margin=torch.tensor([4.0, -3.0, -1.0])))
        >>> [round(value, 3) for value in term.values(torch.zeros(3)).tolist()]
        [1.0, 0.135, 1.0]
    """

    wants = frozenset({"margin"})
    total: Tensor
    seen: Tensor

    def __init__(self) -> None:
        self.add_state("total", 0.0, dtype=torch.float64)
        self.add_state("seen", 0)

    def learn(self, feedback: Feedback) -> None:
        """Add up the margins; samples that nothing was told of are left out.

        Args:
            feedback: Any number of batches together.
        """
        if feedback.margin is None:
            return
        known = feedback.margin.isfinite()
        indices, margins = feedback.indices[known], feedback.margin[known].double()
        self.total.index_add_(0, indices, margins)
        self.seen.index_add_(0, indices, torch.ones(len(indices), dtype=torch.int32))

    def values(self, usage: Tensor) -> Tensor:
        """exp(min(0, m)) of each sample's mean margin m.

        Args:
            usage: (N,) int32 uses so far; not looked at.

        Returns:
            (N,) float32 in [0, 1].
        """
        return torch.exp((self.total / self.seen.clamp_min(1)).clamp_max(0)).float()
