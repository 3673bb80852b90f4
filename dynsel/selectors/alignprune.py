"""AlignPrune: samples whose losses go the way of those that can be trusted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import as_tensor, check_integer
from dynsel.selection import Selection
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import put_first, rotation_scores, update_average
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["AlignPrune"]

_LEAST, _MOST = 3, 1000  # epochs: of two, every correlation is 1 or -1; each takes four bytes per sample


class AlignPrune(ScoreSelector):
    """The samples whose losses of the last epochs correlate most with the mean loss of trusted ones, for noisy labels.

    The loss of a sample with a right label falls as those of all others do; that of a wrong one stays, or rises until
    it is learned by heart.

    Published: the score, Pearson's correlation of a sample's losses over the last 10 epochs with the mean losses of a
    small clean set, for which 1 % of the data are enough; it takes the place of the loss in another method.
    Ours, where the summary at hand is silent: the samples of highest score are taken; the trusted ones are part of the
    data set and of every epoch; in an epoch without a sample its last loss stands. A score needs three epochs and
    losses that differ. Samples without one go first, in random order, and so do again those that weren't trained on for
    the whole window: until three epochs are known, that is random rotation.

    Args:
        trusted: Positions of trusted samples in the data set: integers as a list, a tensor, an array or the path of an
            `.npy` file.
        window: Number of epochs that are looked at, in [3, 1000]; each takes four bytes per sample.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        epochs: () int64, number of epochs chosen so far.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If `window` is out of range; from `bind`, if `trusted` holds no positions of the data set.
        FileNotFoundError: From `bind`, if there is no such file.

    Reference:
        AlignPrune (2026), CVPR, arXiv:2604.07306. From a summary of the paper, which was not at hand itself.

    Example:
        >>> selector = AlignPrune(trusted=[0], seed=0)
        >>> selector.bind(3)
        >>> for losses in ([3.0, 1.0, 3.1], [2.0, 1.1, 2.2], [1.0, 1.2, 1.1]):
        ...     chosen = selector.select(0.0, size=3).indices
        ...     selector.observe(Feedback(chosen, per_sample_loss=torch.tensor(losses)))
        >>> selector.select(0.5, size=2).indices.tolist()
        [0, 2]
    """

    wants = frozenset({"per_sample_loss"})
    also_needs = ("trusted samples",)
    epochs: Tensor

    def __init__(
        self, *, trusted: Any = None, window: int = 10, class_balance: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.trusted = trusted
        self.window = check_integer("window", window, at_least=_LEAST, at_most=_MOST, why="it counts epochs")
        self.add_state("epochs", torch.tensor(0))
        for place in range(self.window):
            self.add_state(f"losses_{place}", math.nan)
        self._trusted = torch.zeros(0, dtype=torch.int64)

    def prepare(self) -> None:
        self._trusted = _positions(self.trusted, self._dataset_length or self.num_samples)
        if self._pool is not None:
            inside = torch.isin(self._trusted, self._pool)
            if not inside.any():
                raise ValueError(
                    "`trusted` must name samples that the loader's sampler yields, and none of them is one"
                )
            self._trusted = torch.searchsorted(self._pool, self._trusted[inside])

    def _losses(self, epoch: int) -> Tensor:
        """(N,) float32, last known loss of each sample in that epoch; NaN = none."""
        losses: Tensor = getattr(self, f"losses_{epoch % self.window}")
        return losses

    def learn(self, feedback: Feedback) -> None:
        if feedback.per_sample_loss is not None:
            now = self._losses(max(0, int(self.epochs) - 1))
            update_average(now, feedback.indices, feedback.per_sample_loss, smoothing=0.0)

    def select(self, progress: float, size: int) -> Selection:
        chosen = super().select(progress, size)
        if epoch := int(self.epochs):
            self._losses(epoch).copy_(self._losses(epoch - 1))
        self.epochs += 1
        return chosen

    def scores(self, progress: float) -> Tensor:
        aligned = self._alignment()
        unknown = np.isnan(aligned)
        if unknown.all():
            aligned = rotation_scores(self.usage, self.generator).numpy()
        else:
            aligned = np.nan_to_num(aligned)
            put_first(aligned, np.flatnonzero(unknown), self.generator)
        put_first(aligned, self._trusted.numpy(), self.generator)
        return torch.from_numpy(aligned)

    def _alignment(self) -> np.ndarray[Any, Any]:
        """(N,) float64 correlations in [-1, 1]; NaN where there is none."""
        known = min(int(self.epochs), self.window)
        losses = torch.stack([self._losses(epoch) for epoch in range(known)]).double() if known >= _LEAST else None
        if losses is None:
            return np.full(self.num_samples, np.nan)
        mean = losses[:, self._trusted].nanmean(1)
        apart, aim = losses - losses.mean(0), mean - mean.mean()
        size = (apart.square().sum(0) * aim.square().sum()).sqrt()
        # Losses that are all the same differ by rounding at most.
        flat = size <= 1e-9 * losses.abs().amax(0) * mean.abs().amax()
        return torch.where(flat, math.nan, (aim @ apart) / size).numpy()


def _positions(trusted: Any, num_samples: int) -> Tensor:
    """(n,) int64 positions, each once, ascending."""
    if trusted is None:
        raise ValueError(
            "AlignPrune needs `trusted`, the positions of samples whose labels are right (1 % of the data are enough): "
            "integers, or the path of an .npy file that holds them"
        )
    rows = as_tensor("trusted", trusted, "positions of samples")
    if rows.ndim != 1 or rows.is_complex() or rows.is_floating_point() or rows.dtype == torch.bool or not len(rows):
        raise ValueError(f"`trusted` must be a list of whole numbers, got shape {tuple(rows.shape)} of {rows.dtype}")
    if not 0 <= int(rows.min()) <= int(rows.max()) < num_samples:
        raise ValueError(
            f"`trusted` must be positions in 0 .. {num_samples - 1}, got {int(rows.min())} .. {int(rows.max())}"
        )
    return torch.from_numpy(np.unique(rows.long().numpy()))
