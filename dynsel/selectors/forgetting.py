"""Forgetting: the samples that the network learned and lost again."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.training_score import TrainingScore

__all__ = ["Forgetting"]


class Forgetting(TrainingScore):
    """The samples that were forgotten most often, fixed in the course of training.

    A sample is forgotten when it is classified wrongly after it was right at its use before. One that was never right
    counts as forgotten more often than any other (a port leaves it at 0, as if it were the easiest). Equal counts,
    of which there are many, are in random order.

    Deviation from the paper, which counts over a whole training beforehand: over the training's own first part,
    during which it rotates at random (see `TrainingScore`).

    Args:
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Toneva et al. (2019), An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR,
        arXiv:1812.05159.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = Forgetting(warmup=0.1, seed=0)
        >>> selector.bind(3)
        >>> for right in [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]:
        ...     selector.observe(Feedback(torch.arange(3), value=torch.tensor(right)))
        >>> selector.select(0.5, size=2).indices.tolist()  # 1 was forgotten, 2 was never learned
        [1, 2]
    """

    fits_shards = True
    _state_compact = {**TrainingScore._state_compact, "forgotten": torch.int16}  # noqa: RUF012
    last: Tensor  # (N,) int8, right at its last use; -1 = not used
    ever: Tensor  # (N,) bool, right at any use
    forgotten: Tensor  # (N,) int32

    def __init__(self, *, warmup: float = 0.5, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)
        self.add_state("last", -1, dtype=torch.int8)
        self.add_state("ever", False)
        self.add_state("forgotten", 0)

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        """Whether the classification is right.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: (B,) int64 classes.
            features: Not used.

        Returns:
            (B,) float32: 1 where the highest logit is that of the target, else 0.
        """
        return (logits.argmax(1) == targets).float()

    def _gather(self, indices: Tensor, values: Tensor) -> None:
        # A sample that is there twice, as padding of a rank, is right if it is so each time.
        which, of = torch.unique(indices, return_inverse=True)
        right = torch.ones(len(which)).scatter_reduce_(0, of, values, "amin") > 0
        self.forgotten[which] += ((self.last[which] == 1) & ~right).to(self.forgotten.dtype)
        self.last[which] = right.to(torch.int8)
        self.ever[which] |= right

    def _finished(self) -> Tensor | None:
        if not self.population.every(bool((self.last >= 0).all())):
            return None
        counts = torch.where(self.ever, self.forgotten, self.population.largest(self.forgotten) + 1)
        return counts + self._fixed_draw()
