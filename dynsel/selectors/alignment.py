"""Losses of the last epochs, and how they go with those of samples that can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynsel._lib.checks import check_integer
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import update_average
from dynsel.selectors.state import Stateful

__all__ = ["LossWindow", "alignment"]

_LEAST, _MOST = 3, 1000  # epochs: of two, every correlation is 1 or -1; each takes four bytes per sample


class LossWindow(Stateful):
    """What selectors and terms share that look at each sample's losses of the last epochs.

    In an epoch without a sample its last loss stands.

    Attributes:
        epochs: () int64, number of epochs begun so far.
        window: Number of epochs that are remembered, each as (N,) float32 `losses_0`, `losses_1` and so on.
    """

    epochs: Tensor
    window: int

    def remember(self, window: int) -> None:
        """Declare the state: to be called by `__init__`.

        Args:
            window: Number of epochs that are looked at, in [3, 1000].

        Raises:
            TypeError: If it is no whole number.
            ValueError: If it is out of range.
        """
        self.window = check_integer("window", window, at_least=_LEAST, at_most=_MOST, why="it counts epochs")
        self.add_state("epochs", torch.tensor(0))
        for place in range(self.window):
            self.add_state(f"losses_{place}", math.nan)

    def take_losses(self, feedback: Feedback) -> None:
        """Enter the losses that training told into the epoch at hand; what isn't finite leaves the loss before.

        Args:
            feedback: Any number of batches together; (B,) losses in `per_sample_loss`.
        """
        if feedback.per_sample_loss is not None:
            now = self._losses(max(0, int(self.epochs) - 1))
            update_average(now, feedback.indices, feedback.per_sample_loss, smoothing=0.0)

    def begin_epoch(self) -> None:
        """The losses to come are of a new epoch."""
        if epoch := int(self.epochs):
            self._losses(epoch).copy_(self._losses(epoch - 1))
        self.epochs += 1

    def known_losses(self) -> Tensor | None:
        """(E, N) float64 losses of the epochs remembered, in any order; None while they are fewer than three."""
        known = min(int(self.epochs), self.window)
        return torch.stack([self._losses(epoch) for epoch in range(known)]).double() if known >= _LEAST else None

    def _losses(self, epoch: int) -> Tensor:
        """(N,) float32, last known loss of each sample in that epoch; NaN = none."""
        losses: Tensor = getattr(self, f"losses_{epoch % self.window}")
        return losses


def alignment(losses: Tensor, trusted: Tensor) -> Tensor:
    """Pearson's correlation of each sample's losses with the mean losses of trusted samples.

    Args:
        losses: (E, N) float64, losses of N samples in E epochs; NaN = not known.
        trusted: (n,) int64 positions, or (N,) bool.

    Returns:
        (N,) float64 in [-1, 1]; NaN where a loss isn't known or all are the same.

    Example:
        >>> losses = torch.tensor([[3.0, 1.0, 3.1], [2.0, 1.1, 2.2], [1.0, 1.2, 1.1]], dtype=torch.float64)
        >>> alignment(losses, torch.tensor([0])).round(decimals=2).tolist()
        [1.0, -1.0, 1.0]
    """
    mean = losses[:, trusted].nanmean(1)
    apart, aim = losses - losses.mean(0), mean - mean.mean()
    size = (apart.square().sum(0) * aim.square().sum()).sqrt()
    # Losses that are all the same differ by rounding at most.
    flat = size <= 1e-9 * losses.abs().amax(0) * mean.abs().amax()
    return torch.where(flat, math.nan, (aim @ apart) / size)
