"""Selective loss: the samples that training still finds hard."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.schedules import Schedule, check_schedule
from dynsel.selectors.loss_selector import LossSelector
from dynsel.selectors.ranking import check_clip
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["LossRank"]


class LossRank(LossSelector, ScoreSelector):
    """The highest ranks of a smoothed per-sample loss, minus a usage penalty, plus noise.

    Score S_i = rank of sample i's average loss (`loss_rank`) - γ u_i / ū + Gumbel noise, with u_i the uses of the
    sample and ū their mean. A sample that was never trained on goes first, in random order, so that every sample
    has a loss early; one that was, but whose loss was not finite, ranks highest and is penalised as the others
    are. Before the first losses it rotates at random.

    γ = 0 without noise takes the same hardest samples until their loss falls; a large γ approaches random rotation.

    Args:
        smoothing: Share of the old average that each new loss leaves, in [0, 1); 0 = the last loss alone.
        gamma: Weight of the usage penalty, at least 0; a number or a schedule.
        noise: Scale of the Gumbel noise, at least 0.
        clip: Share of the samples of highest loss that count as noise and rank lowest, in [0, 1): about the share
            of wrong labels that you expect.
        class_balance: Keep the same share of every class; ranks stay those among all samples.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is out of range.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = LossRank(gamma=0.0, noise=0.0, seed=0)
        >>> selector.bind(4)
        >>> selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 3]

    Reference:
        Ours in this form. Smoothed losses: Raju, Daruwalla and Lipasti (2021), Accelerating Deep Learning with Dynamic
        Data Pruning, arXiv:2111.12621; ranks instead of losses: Jiang et al. (2019), Accelerating Deep Learning by
        Focusing on the Biggest Losers, arXiv:1910.00762.
    """

    fits_shards = True

    def __init__(
        self,
        *,
        smoothing: float = 0.5,
        gamma: float | Schedule = 1.0,
        noise: float = 0.1,
        clip: float = 0.0,
        class_balance: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(smoothing=smoothing, class_balance=class_balance, seed=seed)
        self.gamma = check_schedule("gamma", gamma)
        self.noise = check_number("noise", noise, at_least=0)
        self.clip = check_clip(clip)

    def scores(self, progress: float) -> Tensor:
        """Ranks of the smoothed losses, minus the usage penalty, plus noise.

        Args:
            progress: Share of training done, in [0, 1], at which `gamma` is read.

        Returns:
            (N,) float32, never trained samples above all others; while no loss is known, scores of random rotation.
        """
        unknown = np.isnan(self.average.numpy())
        if self.population.every(bool(unknown.all())):
            return self.population.rotation(self.usage, self.generator)
        scores: np.ndarray[Any, Any] = self.population.ranks(self.average, self.clip).numpy()
        if gamma := self.gamma(progress):
            scores -= self.population.penalty(self.usage).numpy() * gamma
        if self.noise:
            scores += self.population.gumbel(len(scores), self.generator).numpy() * self.noise
        self.population.put_first(scores, np.flatnonzero(unknown & (self.usage.numpy() == 0)), self.generator)
        return torch.from_numpy(scores)
