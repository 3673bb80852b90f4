"""What the selectors share that fix their subset by what the first part of training says of each sample."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import Selection
from dynsel.selectors.base import Selector
from dynsel.selectors.feedback import Feedback

__all__ = ["MeanScore", "TrainingScore", "error_norms", "margins"]


class TrainingScore(Selector):
    """Rotates at random in the first part of training, and then keeps the samples of highest score to the end.

    The papers take the scores from trainings of their own, whose cost their tables leave out; here they come from the
    training itself, so that nothing is free. The subset is fixed at the first epoch that starts after the share
    `warmup` of training and when every sample has been trained on; from then on nothing is learned.

    Args:
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        final: (N,) float32, the scores once they are fixed; None before.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    wants = frozenset({"value"})
    same_size = True
    final: Tensor | None

    def __init__(self, *, warmup: float, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        why = "it is the share of training that only gathers"
        self.warmup = check_number("warmup", warmup, at_least=0, below=1, why=why)
        self.add_state("final", None)

    @property
    def goes_by_progress(self) -> bool:
        """True: after the warm-up it takes a subset by its scores."""
        return True

    def learn(self, feedback: Feedback) -> None:
        """Gather what `measure` gave, until the scores are fixed; numbers that aren't finite are passed over.

        Args:
            feedback: Any number of batches together; (B,) numbers in `value`.
        """
        good = feedback.finite()
        if self.final is None and good.value is not None and len(good.indices):
            self._gather(good.indices, good.value.detach().float().cpu())

    @abstractmethod
    def _gather(self, indices: Tensor, values: Tensor) -> None:
        """Take in what `measure` gave for B ≥ 1 samples: (B,) positions and (B,) finite float32 numbers."""

    @abstractmethod
    def _finished(self) -> Tensor | None:
        """(N,) float32, higher = rather take it; None while a sample is missing."""

    def select(self, progress: float, size: int) -> Selection:
        """Random rotation, and from `warmup` on, once every sample was used, the samples of highest score.

        Args:
            progress: Share of training done, in [0, 1].
            size: Number of samples that the keep ratio stands for, 1 .. N.
        """
        # Progress is a quotient of whole numbers: 7 / 10 must not fall short of 0.7.
        if self.final is None and progress >= self.warmup - 1e-9:
            self.final = self._finished()
        if self.final is None:
            return self._highest(self.population.rotation(self.usage, self.generator), size)
        self.notes.add_scores(self.final)
        return self._chosen(self.final, size)

    def _chosen(self, scores: Tensor, size: int) -> Selection:
        """The subset by the final scores, the same each time."""
        return self._highest(scores, size)

    def _highest(self, scores: Tensor, size: int) -> Selection:
        return Selection(self.population.highest(scores, size, self.labels if self.class_balance else None))

    def _fixed_draw(self) -> Tensor:
        """(N,) uniform in [0, 1), the same each time."""
        return self.population.uniform(self.num_samples, torch.Generator().manual_seed(self.generator.initial_seed()))


class MeanScore(TrainingScore):
    """One whose score is the mean of a number that each use of the sample gives.

    The papers (Paul et al. 2021, Pleiss et al. 2020) take means over networks or epochs of a training before; this one
    is ours, over the uses in the training's own first part.

    Args:
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        total: (N,) float64, sum of the numbers so far.
        seen: (N,) int32, how many they are.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    _state_compact = {**TrainingScore._state_compact, "total": torch.float32, "seen": torch.int16}  # noqa: RUF012
    total: Tensor  # (N,) float64, sum of the numbers so far
    seen: Tensor  # (N,) int32, how many they are

    def __init__(self, *, warmup: float, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)
        self.add_state("total", 0.0, dtype=torch.float64)
        self.add_state("seen", 0)

    def _gather(self, indices: Tensor, values: Tensor) -> None:
        self.total.index_add_(0, indices, values.to(self.total.dtype))
        self.seen.index_add_(0, indices, torch.ones(len(indices), dtype=self.seen.dtype))

    def _finished(self) -> Tensor | None:
        return (self.total / self.seen).float() if self.population.every(bool((self.seen > 0).all())) else None


def error_norms(logits: Tensor, targets: Tensor) -> Tensor:
    """||softmax - one-hot target||, the norm of the cross entropy's gradient by the logits.

    Args:
        logits: (B, C) float, outputs of the classifier before softmax.
        targets: (B,) int64, class of each sample.

    Returns:
        (B,) in [0, √2].
    """
    errors = logits.softmax(1) - F.one_hot(targets, logits.shape[1])
    norms: Tensor = torch.linalg.vector_norm(errors, dim=1)
    return norms


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Logit of the target minus the highest other one; of a single class, the logit.

    Args:
        logits: (B, C) float, outputs of the classifier before softmax.
        targets: (B,) int64, class of each sample.

    Returns:
        (B,), above 0 where the classification is right.
    """
    own = logits.gather(1, targets[:, None])[:, 0]
    if logits.shape[1] == 1:
        return own
    return own - logits.scatter(1, targets[:, None], -torch.inf).amax(1)
