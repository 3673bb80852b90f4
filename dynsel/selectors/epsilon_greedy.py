"""ε-greedy: the highest losses, and a few samples at random."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selectors.loss import LossRank

__all__ = ["EpsilonGreedy"]


class EpsilonGreedy(LossRank):
    """The highest smoothed losses for a share 1 - ε of the epoch, the rest uniformly at random from all others.

    Of M samples round(ε M) are random. Among the others, samples that were never trained on go first, in random order,
    so that every sample has a loss early; one that was, but whose loss was never finite, goes last. Before
    the first losses all of the epoch is random.

    Deviations from the paper: ε and the smoothing are not published, so they are ours; losses are those of training,
    where the paper also scores all samples every few epochs.

    Args:
        epsilon: Share of the epoch taken at random, in [0, 1]; 1 = all of it.
        smoothing: Share of the old average that each new loss leaves, in [0, 1); 0 = the last loss alone.
        class_balance: Keep the same share of every class; of each, about ε is random.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Raju, Daruwalla and Lipasti (2021), Accelerating Deep Learning with Dynamic Data Pruning, arXiv:2111.12621.

    Example:
        >>> import torch
        >>> from dynsel.selectors import Feedback
        >>> selector = EpsilonGreedy(epsilon=0.5, seed=0)
        >>> selector.bind(6)
        >>> selector.observe(Feedback(torch.arange(6), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5, 0.2, 0.4])))
        >>> [selector.select(0.5, size=4).indices.tolist() for _ in range(2)]
        [[0, 1, 3, 5], [0, 1, 2, 3]]
    """

    fits_shards = True

    def __init__(
        self, *, epsilon: float = 0.1, smoothing: float = 0.5, class_balance: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(smoothing=smoothing, gamma=0.0, noise=0.0, class_balance=class_balance, seed=seed)
        why = "it is the share taken at random"
        self.epsilon = check_number("epsilon", epsilon, at_least=0, at_most=1, why=why)

    def scores(self, progress: float) -> Tensor:
        """Ranks of the smoothed losses, never trained samples above them and those whose loss was never finite below.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float32; while no loss is known, scores of random rotation.
        """
        scores = super().scores(progress)
        never_finite = np.flatnonzero(np.isnan(self.average.numpy()) & (self.usage.numpy() > 0))
        scores[never_finite] = -self.population.uniform_of(never_finite, self.generator)
        return scores
