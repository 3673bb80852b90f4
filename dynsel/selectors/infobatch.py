"""InfoBatch: easy samples are left out at random, and those that stay count for them."""

from __future__ import annotations

import numpy as np
import torch

from dynsel._lib.checks import check_number
from dynsel.selection import Selection
from dynsel.selectors.loss_selector import LossSelector

__all__ = ["InfoBatch"]


class InfoBatch(LossSelector):
    """Leaves out samples of below-average loss with a fixed probability and weighs up the rest of them.

    Samples whose last known loss is below the mean of all known ones are each left out with probability r,
    `drop_probability`; those of them that stay have the loss weight 1 / (1 - r), so that the expected weight of every
    sample is exactly 1. All others, and samples without a known loss, stay with weight 1. The last epochs train on
    everything, without weights.

    How many samples that leaves is the method's own affair: the keep ratio is not used. With losses as skewed as they
    usually are, more than half of the samples are below the mean, and an epoch keeps 1 - r * that share.

    Deviations from the published code: each sample is drawn by itself, where that code keeps exactly the whole part
    of (1 - r) times the number of easy samples, which is biased in small pools (of 3 with r = 0.5 it keeps 1,
    an expected weight of 2/3); weights never outlive their epoch; a sample without a loss counts as unknown instead
    of having an invented one; draws come from the selector's own generator.

    Args:
        drop_probability: Probability of leaving out an easy sample, in [0, 1); the paper's r.
        anneal: Share of training, at its end, that uses all data, in [0, 1]; 1 minus the paper's δ.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Qin et al. (2024), InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning, ICLR,
        arXiv:2303.04947.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = InfoBatch(drop_probability=0.5, seed=0)
        >>> selector.bind(5)
        >>> selector.observe(Feedback(torch.arange(5), per_sample_loss=torch.tensor([0.1, 0.2, 0.1, 3.0, 2.0])))
        >>> selection = selector.select(0.5, size=5)
        >>> selection.indices.tolist(), selection.weights.tolist()
        ([1, 3, 4], [2.0, 1.0, 1.0])
    """

    exact = False

    def __init__(self, *, drop_probability: float = 0.5, anneal: float = 0.125, seed: int | None = None) -> None:
        super().__init__(smoothing=0.0, seed=seed)
        self.drop_probability = check_number(
            "drop_probability",
            drop_probability,
            at_least=0,
            below=1,
            why="it is the probability of leaving out a sample of low loss",
        )
        why = "it is a share of training, 0.125 by default"
        self.anneal = check_number("anneal", anneal, at_least=0, at_most=1, why=why)

    @property
    def goes_by_progress(self) -> bool:
        """Whether its last part of training is on everything."""
        return self.anneal > 0

    def select(self, progress: float, size: int) -> Selection:
        """All hard samples with weight 1 and a random part of the easy ones with weight 1 / (1 - r).

        Args:
            progress: Share of training done, in [0, 1]; in the last part, `anneal`, the epoch is everything,
                unweighted.
            size: Number of samples that the keep ratio stands for; not used.

        Returns:
            Ascending indices with (M,) float32 weights; no weights where nothing is left out.
        """
        easy = self._easy()
        # Progress is a quotient of whole numbers: 7 / 10 must not fall short of 1 - 0.3.
        if progress >= 1 - self.anneal - 1e-9 or not self.drop_probability or not easy.any():
            return Selection(torch.arange(self.num_samples))
        draw = torch.rand(self.num_samples, generator=self.generator).numpy()
        kept = np.flatnonzero(~easy | (draw >= self.drop_probability))
        weights = np.where(easy[kept], np.float32(1 / (1 - self.drop_probability)), np.float32(1))
        return Selection(torch.from_numpy(kept), torch.from_numpy(weights))

    def _easy(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(N,) mask of the samples whose loss is known and below the mean; never all of them."""
        losses = self.average.numpy()
        known = losses[~np.isnan(losses)]
        # Without this, no sample would have a mean to compare with and numpy would warn.
        mean = known.mean(dtype=np.float64) if len(known) else -np.inf
        return np.asarray(losses < mean)
