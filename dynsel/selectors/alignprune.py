"""AlignPrune: samples whose losses go the way of those that can be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import as_tensor
from dynsel.selection import Selection
from dynsel.selectors.alignment import LossWindow, alignment
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import put_first, rotation_scores
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["AlignPrune"]


class AlignPrune(LossWindow, ScoreSelector):
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
        ValueError: If `window` is out of range, or `trusted` holds no positions; from `bind`, if not of the data set.
        FileNotFoundError: If `trusted` is a path at which there is no file.

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

    def __init__(
        self, *, trusted: Any = None, window: int = 10, class_balance: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.trusted = trusted
        self._given = None if trusted is None else _positions(trusted)
        self.remember(window)
        self._trusted = torch.zeros(0, dtype=torch.int64)

    def prepare(self) -> None:
        """Find the trusted samples among those that the selector is bound to.

        Raises:
            ValueError: If `trusted` was not given, or holds positions beyond the data set, or none of the samples that
                the loader's sampler yields.
        """
        if self._given is None:
            raise ValueError(
                "AlignPrune needs `trusted`, the positions of samples whose labels are right (1 % of the data are "
                "enough): integers, or the path of an .npy file that holds them"
            )
        count, lowest, highest = self._dataset_length or self.num_samples, self._given[0], self._given[-1]
        if not 0 <= lowest <= highest < count:
            raise ValueError(f"`trusted` must be positions in 0 .. {count - 1}, got {lowest} .. {highest}")
        self._trusted = self._given
        if self._pool is not None:
            inside = torch.isin(self._trusted, self._pool)
            if not inside.any():
                raise ValueError(
                    "`trusted` must name samples that the loader's sampler yields, and none of them is one"
                )
            self._trusted = torch.searchsorted(self._pool, self._trusted[inside])

    def learn(self, feedback: Feedback) -> None:
        """Note the losses of the epoch chosen last; what isn't finite leaves the loss before in its place.

        Args:
            feedback: Any number of batches together; losses (B,) in `per_sample_loss`.
        """
        self.take_losses(feedback)

    def select(self, progress: float, size: int) -> Selection:
        """The samples of highest score, and the beginning of a new epoch in the window of losses.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples that the keep ratio stands for, 1 .. N.
        """
        chosen = super().select(progress, size)
        self.begin_epoch()
        return chosen

    def scores(self, progress: float) -> Tensor:
        """Correlation of each sample's losses with the mean of the trusted ones.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float: correlations in [-1, 1]; above them, in random order, samples without one, and above all the
            trusted. While no correlation is known, scores of random rotation.
        """
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
        losses = self.known_losses()
        if losses is None:
            return np.full(self.num_samples, np.nan)
        return alignment(losses, self._trusted).numpy()


def _positions(trusted: Any) -> Tensor:
    """(n,) int64 positions, each once, ascending."""
    rows = as_tensor("trusted", trusted, "positions of samples")
    if rows.ndim != 1 or rows.is_complex() or rows.is_floating_point() or rows.dtype == torch.bool or not len(rows):
        raise ValueError(f"`trusted` must be a list of whole numbers, got shape {tuple(rows.shape)} of {rows.dtype}")
    return torch.from_numpy(np.unique(rows.long().numpy()))
