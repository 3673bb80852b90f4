"""AUM: the samples with the smallest margins over training."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.training_score import MeanScore, margins

__all__ = ["AUM"]


class AUM(MeanScore):
    """The samples with the smallest area under the margin, fixed in the course of training.

    The margin is the logit of the target minus the highest other one; the area is its mean over the uses of the sample
    so far (see `TrainingScore`). The paper looks for wrong labels this way: with label noise they are what has the
    smallest areas of all. `CCS` leaves those out.

    Args:
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Pleiss et al. (2020), Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS,
        arXiv:2001.10528.

    Example:
        >>> import torch
        >>> from dynsel.selectors import Feedback
        >>> selector = AUM(warmup=0.1, seed=0)
        >>> selector.bind(3)
        >>> logits = torch.tensor([[5.0, 0.0], [1.0, 2.0], [0.0, 0.5]])
        >>> margins = selector.measure(logits, torch.tensor([0, 0, 1]), None)
        >>> selector.observe(Feedback(torch.arange(3), value=margins))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 2]
    """

    fits_shards = True

    def __init__(self, *, warmup: float = 0.3, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        """Margins with the sign turned, since the highest scores are taken.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: (B,) int64 classes.
            features: Not used.

        Returns:
            (B,) float: highest other logit minus that of the target; above 0 where the classification is wrong.
        """
        return -margins(logits, targets)
