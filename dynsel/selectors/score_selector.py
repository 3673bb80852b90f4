"""What the selectors share that take the samples of highest score."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from dynsel.selection import Selection
from dynsel.selectors.base import Selector
from dynsel.selectors.checked import checked_scores

__all__ = ["ScoreSelector"]


class ScoreSelector(Selector):
    """A selector that takes the samples of highest score, in each class if `class_balance`.

    Until it is `ready` (features captured in training need one pass over the data), it rotates at random.

    Attributes:
        epsilon: Share of the epoch, in [0, 1], drawn at random from all samples but those of highest score.
    """

    epsilon: float = 0.0

    @abstractmethod
    def scores(self, progress: float) -> Tensor:
        """One number per sample, higher = rather take it; equal ones are taken at the lower positions first.

        Args:
            progress: Share of training done, in [0, 1].

        Returns:
            (N,) float; NaN is the lowest.
        """

    def select(self, progress: float, size: int) -> Selection:
        """The samples of highest score, exactly as many as asked for; a share `epsilon` at random from the others.

        Args:
            progress: Share of training done, in [0, 1].
            size: Number of samples that the keep ratio stands for, 1 .. N.

        Raises:
            TypeError: If `scores` returns no real numbers.
            ValueError: If it doesn't return one number per sample, or nothing but NaN.
        """
        labels = self.labels if self.class_balance else None
        if not self.ready:
            scores = self.population.rotation(self.usage, self.generator)
        else:
            scores = checked_scores(f"{type(self).__name__}.scores", self.scores(progress), len(self.usage))
            self.notes.add_scores(scores)
            if self.epsilon:
                scores = self._partly_drawn(scores, labels, size)
        return Selection(self.population.highest(scores, size, labels))

    def _partly_drawn(self, scores: Tensor, labels: Tensor | None, size: int) -> Tensor:
        """Scores whose top `size` are the highest of these, and for a share ε of it any others at random."""
        greedy = self.population.greedy(size, self.epsilon)
        drawn = self.population.uniform(self.num_samples, self.generator)
        if greedy:
            drawn[self.population.highest(scores, size, labels, greedy)] = 2.0
        return drawn
