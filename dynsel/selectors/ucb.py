"""UCB: selection as a bandit problem, with a bonus for what was used little."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selectors.loss_selector import LossSelector
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["UCB"]


class UCB(LossSelector, ScoreSelector):
    """The highest upper confidence bounds of a smoothed per-sample loss.

    Score S_i = (average loss of sample i - mean) / standard deviation + c sqrt(log t / n_i), mean and deviation over
    the averages known, n_i the uses of the sample and t those of all samples (UCB1). Samples that were never trained
    on go first, in random order; one that was, but whose loss was never finite, counts as the mean. While no
    losses are known, or all are the same, it rotates at random.

    Deviations from the paper: its constants are not published, so c, the smoothing and the unit of the bonus (the
    deviation, since losses have no scale of their own) are ours; the bonus counts uses, where a port of
    the paper adds the variance of the sample's loss; losses are those of training, where the paper also scores all
    samples every few epochs.

    Args:
        c: Weight of the bonus, in standard deviations of the losses, at least 0; 0 takes the highest losses only.
        smoothing: Share of the old average that each new loss leaves, in [0, 1); 0 = the last loss alone.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Raju, Daruwalla and Lipasti (2021), Accelerating Deep Learning with Dynamic Data Pruning, arXiv:2111.12621.
        Auer, Cesa-Bianchi and Fischer (2002), Finite-time Analysis of the Multiarmed Bandit Problem (UCB1).

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = UCB(seed=0)
        >>> selector.bind(4)
        >>> selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 3]
    """

    fits_shards = True

    def __init__(
        self, *, c: float = 1.0, smoothing: float = 0.5, class_balance: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(smoothing=smoothing, class_balance=class_balance, seed=seed)
        self.c = check_number("c", c, at_least=0, why="0 takes the highest losses only")

    def scores(self, progress: float) -> Tensor:
        """Upper confidence bounds, in standard deviations of the losses.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float32, never trained samples above all others; while no losses are known or all are the same, scores
            of random rotation.
        """
        average, uses = self.average.numpy().astype(np.float64), self.usage.numpy()
        unknown, moments = np.isnan(average), self.population.moments(average)
        # Of equal losses the bonus alone would decide, that is, rotation.
        if moments is None:
            return self.population.rotation(self.usage, self.generator)
        mean, deviation = moments
        scores = np.where(unknown, 0.0, (average - mean) / deviation)
        scores += self.c * np.sqrt(math.log(self.population.total(self.usage)) / np.maximum(uses, 1))
        self.population.put_first(scores, np.flatnonzero(unknown & (uses == 0)), self.generator)
        return torch.from_numpy(scores.astype(np.float32))
