"""BLS: InfoBatch by the losses of batches, for trainings that tell no sample's own."""

from __future__ import annotations

from dynsel.selectors.feedback import Feedback
from dynsel.selectors.infobatch import InfoBatch
from dynsel.selectors.ranking import check_smoothing, update_average

__all__ = ["BLS"]


class BLS(InfoBatch):
    """`InfoBatch` whose losses are running means of the losses of the batches that a sample was in.

    Who comes together is drawn anew each epoch, so the mean over many epochs tells a sample from its company. No loss
    of a single sample is looked at: any returned loss will do. Only the weights of what stays need the
    samples' own losses in training, as those of `InfoBatch` do; where these can't be found, the term
    `batch_loss` of `Hybrid` goes by the same scores and weighs nothing.

    Published: the score, an exponential moving average of mean losses of batches, in the place of InfoBatch's losses.
    Ours, where the summary at hand is silent: the share of the old average, 0.8 (the paper is said to find 0.7 to
    0.8 the best, and a re-run 0.9). The score is made of what a step returns, in every epoch and with all of its terms,
    also of those that belong to no sample; where epochs are weighted that is the weighted loss.

    Args:
        smoothing: Share of the old average that each new batch's loss leaves, in [0, 1).
        drop_probability: Probability of leaving out an easy sample, in [0, 1).
        anneal: Share of training, at its end, that uses all data, in [0, 1].
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        average: (N,) float32, the score; NaN = none known.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        BLS (2026), CVPR, arXiv:2604.04681. From a summary of the paper, which was not at hand itself.
    """

    wants = frozenset({"batch_loss"})

    def __init__(
        self,
        *,
        smoothing: float = 0.8,
        drop_probability: float = 0.5,
        anneal: float = 0.125,
        seed: int | None = None,
    ) -> None:
        super().__init__(drop_probability=drop_probability, anneal=anneal, seed=seed)
        self.smoothing = check_smoothing(smoothing)

    def learn(self, feedback: Feedback) -> None:
        """Take the losses of batches into the average of each sample that was in one.

        Args:
            feedback: Any number of batches together; (B,) losses of its batch for each sample in `batch_loss`.
        """
        if feedback.batch_loss is not None:
            update_average(self.average, feedback.indices, feedback.batch_loss, self.smoothing)
