"""RePB: samples that are easy beside their own batch are left out at random, and count more when they are back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import Selection
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.loss_selector import LossSelector
from dynsel.selectors.ranking import update_average

__all__ = ["RePB"]


class RePB(LossSelector):
    """Leaves out, with a fixed probability, samples whose loss was below the mean of the batch that they were in.

    A loss is compared with those of the same batch only, which all come from the same network: no threshold goes over
    losses of a whole epoch, of which the first are out of date at its end. A sample that was left out is judged by its
    last use, and so is in the next epoch with probability 1 - ρ. What is trained on has the loss weight E / N_i, the
    epochs so far over the times that sample i was trained on in one, both with the epoch that begins.

    Published: comparison within a batch (a window of one), probability ρ, re-entry with 1 - ρ, weights by cumulative
    inclusion. Ours, where the summary at hand is silent: E is the number of epochs so far, not of the whole training;
    ρ = 0.5; no epochs at the end on full data; an epoch that would be empty is on everything. An epoch here is what
    was chosen at once; a batch that is told of after the next choice, as of a loader that fetches ahead, counts to
    that. How many samples are kept is the method's own affair: the keep ratio is not used.

    Args:
        drop_probability: Probability of leaving out an easy sample, in [0, 1); the paper's ρ.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        average: (N,) float32, loss of each sample minus the mean of its batch, at its last use; NaN = none known.
        epochs: () int64, E, the number of epochs so far.
        included: (N,) int32, in how many of them a sample was trained on.
        last: (N,) int64, the last of these; 0 = none.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        RePB (2026), ICLR. From a summary of the paper, which was not at hand itself.

    Example:
        >>> selector = RePB(drop_probability=0.5, seed=0)
        >>> selector.bind(4)
        >>> chosen = selector.select(0.0, size=4).indices  # no loss is known yet
        >>> losses = torch.tensor([0.1, 0.2, 3.0, 2.0])
        >>> selector.observe(Feedback(chosen, per_sample_loss=losses, batch_loss=losses.mean().expand(4)))
        >>> for _ in range(4):
        ...     selection = selector.select(0.5, size=4)
        ...     told = losses[selection.indices]
        ...     selector.observe(Feedback(selection.indices, per_sample_loss=told, batch_loss=told * 0 + 1))
        >>> selection.weights.tolist()  # the first sample was in 2 of the 5 epochs, the second in 4
        [2.5, 1.25, 1.0, 1.0]
    """

    exact = False
    wants = frozenset({"per_sample_loss", "batch_loss"})
    epochs: Tensor
    included: Tensor
    last: Tensor

    def __init__(self, *, drop_probability: float = 0.5, seed: int | None = None) -> None:
        super().__init__(smoothing=0.0, seed=seed)
        why = "it is the probability of leaving out a sample of low loss"
        self.drop_probability = check_number("drop_probability", drop_probability, at_least=0, below=1, why=why)
        self.add_state("epochs", torch.tensor(0))
        self.add_state("included", 0)
        self.add_state("last", 0, dtype=torch.int64)

    def learn(self, feedback: Feedback) -> None:
        """Note who was trained on, and how far each loss is from the mean of its batch.

        Args:
            feedback: Any number of batches together; (B,) losses in `per_sample_loss`, that of its batch for each in
                `batch_loss`.
        """
        # Not by what was chosen: a round may end before all of that was trained on.
        used = torch.from_numpy(np.unique(feedback.indices.cpu().numpy()))
        self.included[used[self.last[used] < self.epochs]] += 1
        self.last[used] = self.epochs
        if feedback.per_sample_loss is not None and feedback.batch_loss is not None:
            apart = feedback.per_sample_loss - feedback.batch_loss
            update_average(self.average, feedback.indices, apart, smoothing=0.0)

    def select(self, progress: float, size: int) -> Selection:
        """What was hard at its last use or never used, and of the easy samples a random part.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples that the keep ratio stands for; not used.

        Returns:
            Ascending indices with (M,) float32 weights E / N_i, at least 1.
        """
        draw = torch.rand(self.num_samples, generator=self.generator).numpy()
        kept = np.flatnonzero(~((self.average.numpy() < 0) & (draw < self.drop_probability)))
        indices = torch.from_numpy(kept) if len(kept) else torch.arange(self.num_samples)
        self.epochs += 1
        return Selection(indices, (self.epochs / (self.included[indices] + 1)).float())
