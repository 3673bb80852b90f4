"""Selective loss: the samples that training still finds hard."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dynsel.schedules import Schedule, as_schedule, check_range
from dynsel.selection import gumbel
from dynsel.selectors.base import Feedback, ScoreSelector, Selector, put_first, rotation_scores
from dynsel.usage import usage_penalty

__all__ = ["LossRank", "LossSelector", "check_smoothing", "loss_rank", "update_average"]


class LossSelector(Selector):
    """A selector that goes by the losses of training.

    Args:
        smoothing: Share of the old average that each new loss leaves, in [0, 1); 0 = the last loss alone.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        average: (N,) float32, each sample's average loss (`update_average`); NaN = none known.
    """

    wants = frozenset({"per_sample_loss"})
    state_names: ClassVar[tuple[str, ...]] = ("usage", "average")

    def __init__(self, *, smoothing: float = 0.0, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.smoothing = check_smoothing(smoothing)
        self.average = torch.zeros(0)

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        super().bind(num_samples, labels, seed=seed)
        self.average = torch.full((num_samples,), torch.nan)

    def observe(self, feedback: Feedback) -> None:
        super().observe(feedback)
        if feedback.per_sample_loss is not None:
            update_average(self.average, feedback.indices, feedback.per_sample_loss, self.smoothing)


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

    Example:
        >>> selector = LossRank(gamma=0.0, noise=0.0, seed=0)
        >>> selector.bind(4)
        >>> selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 3]
    """

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
        self.gamma = as_schedule(gamma)
        check_range("gamma", self.gamma, 0.0)
        if not noise >= 0:
            raise ValueError(f"`noise` must be at least 0, got {noise}")
        if not 0 <= clip < 1:
            raise ValueError(f"`clip` must be in [0, 1), got {clip}; it is a share of the samples, 0 clips none")
        self.noise, self.clip = noise, clip

    def scores(self, progress: float) -> Tensor:
        unknown = np.isnan(self.average.numpy())
        if unknown.all():
            return rotation_scores(self.usage, self.generator)
        scores: np.ndarray[Any, Any] = loss_rank(self.average, self.clip).numpy()
        if gamma := self.gamma(progress):
            scores -= usage_penalty(self.usage).numpy() * gamma
        if self.noise:
            scores += gumbel(len(scores), self.generator).float().numpy() * self.noise
        put_first(scores, np.flatnonzero(unknown & (self.usage.numpy() == 0)), self.generator)
        return torch.from_numpy(scores)


def check_smoothing(smoothing: float) -> float:
    """`smoothing` itself.

    Raises:
        ValueError: Unless it is in [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"`smoothing` must be in [0, 1), got {smoothing}; 0 takes the last loss alone")
    return smoothing


def update_average(average: Tensor, indices: Tensor, loss: Tensor, smoothing: float) -> Tensor:
    """Take new losses into each sample's exponential moving average, in place.

    The first loss of a sample is its average; later ones make it smoothing * average + (1 - smoothing) * loss. Losses
    that are not finite are passed over. A sample that occurs several times counts once, with the mean of its
    losses, so that their order doesn't matter.

    Args:
        average: (N,) float32 on the CPU; NaN = no loss known.
        indices: (B,) integer positions in 0 .. N-1.
        loss: (B,) float.
        smoothing: In [0, 1).

    Returns:
        `average`.

    Example:
        >>> average = torch.tensor([1.0, 1.0, torch.nan])
        >>> update_average(average, torch.tensor([0, 2, 1]), torch.tensor([3.0, 5.0, torch.nan]), 0.5).tolist()
        [2.0, 1.0, 5.0]
    """
    # What float32 can't hold becomes infinite here, and is passed over.
    values = loss.detach().float().cpu().numpy()
    good = np.isfinite(values)
    which, occurrence, counts = np.unique(indices.cpu().numpy()[good], return_inverse=True, return_counts=True)
    new = np.bincount(occurrence, weights=values[good], minlength=len(which)) / counts
    averages = average.numpy()
    old = averages[which].astype(np.float64)
    averages[which] = np.where(np.isnan(old), new, smoothing * old + (1 - smoothing) * new)
    return average


def loss_rank(average: Tensor, clip: float = 0.0) -> Tensor:
    """Rank of each sample's average loss among the known ones, scaled to (0, 1); equal losses share their mean rank.

    Args:
        average: (N,) float on the CPU; NaN = no loss known.
        clip: Share of the known samples, those of highest loss, that rank lowest instead, the highest loss last;
            in [0, 1).

    Returns:
        (N,) float32: (place + 0.5) / n for place 0 .. n-1 among the n known ones, and 1 for the unknown.

    Example:
        >>> loss_rank(torch.tensor([0.1, torch.nan, 0.4, 0.2, 0.3])).tolist()
        [0.125, 1.0, 0.875, 0.375, 0.625]
        >>> loss_rank(torch.tensor([0.1, torch.nan, 0.4, 0.2, 0.3]), clip=0.25).tolist()
        [0.375, 1.0, 0.125, 0.625, 0.875]
    """
    values = average.numpy()
    known = np.flatnonzero(~np.isnan(values))
    n = len(known)
    ranks = np.ones(len(values), dtype=np.float32)
    if n:
        # Shared ranks need no stable sort, which takes four times as long.
        order = np.argsort(values[known])
        ordered = values[known[order]]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        counts = np.diff(starts, append=n)
        place = np.repeat(starts + (counts - 1) / 2, counts)
        clipped = int(clip * n + 0.5)
        place = np.where(place > n - 1 - clipped, n - 1 - place, place + clipped)
        ranks[known[order]] = (place + 0.5) / n
    return torch.from_numpy(ranks)
