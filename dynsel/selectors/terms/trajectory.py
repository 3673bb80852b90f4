"""Trajectory: samples whose losses go the way of those that can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.alignment import LossWindow, alignment
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.terms.base import Term

__all__ = ["Trajectory"]


class Trajectory(LossWindow, Term):
    """(1 + r) / 2, where r is the correlation of a sample's last ten losses with those of trusted samples.

    The score of `AlignPrune`, for whom nobody has named samples to trust: trusted is here the half of the samples whose
    losses are lowest, which holds fewer wrong labels than the whole as long as these are the minority. In an epoch
    without a sample its last loss stands. Samples without a correlation, among them all in the first three epochs,
    count as trusted.

    Attributes:
        epochs: () int64, number of epochs begun so far.

    Reference:
        AlignPrune (2026), CVPR, arXiv:2604.07306 (the correlation, with a clean set).

    Example:
        >>> term = Trajectory()
        >>> term.bind(4)
        >>> for losses in ([3.0, 3.1, 3.2, 3.0], [2.0, 2.2, 2.1, 3.5], [1.0, 1.1, 1.3, 4.0]):
        ...     values = term.values(torch.zeros(4))
        ...     term.learn(Feedback(torch.arange(4), per_sample_loss=torch.tensor(losses)))
        >>> [round(value, 2) for value in term.values(torch.zeros(4)).tolist()]
        [1.0, 1.0, 1.0, 0.0]
    """

    wants = frozenset({"per_sample_loss"})

    def __init__(self) -> None:
        self.remember(10)

    def learn(self, feedback: Feedback) -> None:
        """Note the losses of the epoch at hand.

        Args:
            feedback: Any number of batches together; (B,) losses in `per_sample_loss`.
        """
        self.take_losses(feedback)

    def values(self, usage: Tensor) -> Tensor:
        """Correlation of each sample's losses with the mean of the lower half, brought to [0, 1]; begins a new epoch.

        Args:
            usage: (N,) int32 uses so far; not used.

        Returns:
            (N,) float32 in [0, 1]; 1 where no correlation is known.
        """
        losses = self.known_losses()
        # Asked for once before each epoch.
        self.begin_epoch()
        if losses is None:
            return torch.ones(len(usage))
        aligned = alignment(losses, _lower_half(losses.mean(0)))
        return ((1 + aligned.nan_to_num(1.0)) / 2).clamp(0, 1).float()


def _lower_half(losses: Tensor) -> Tensor:
    """(N,) bool: the half, rounded up, of the known ones that are lowest."""
    known = losses[~losses.isnan()]
    return losses <= (known.median() if len(known) else torch.inf)
