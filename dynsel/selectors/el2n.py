"""EL2N: the samples that the network is most wrong about early in training."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.training_score import MeanScore, error_norms

__all__ = ["EL2N"]


class EL2N(MeanScore):
    """The samples of largest ||softmax(logits) - one-hot target||, fixed early in training.

    Deviations from the paper, which takes the mean of ten networks trained for 10 to 20 of 200 epochs beforehand: the
    mean is over the uses of the sample in the training's own first part, during which it rotates at random, with
    the augmentation that training has (see `TrainingScore`).

    Args:
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Paul, Ganguli and Dziugaite (2021), Deep Learning on a Data Diet, NeurIPS, arXiv:2107.07075.

    Example:
        >>> import torch
        >>> from dynsel.selectors import Feedback
        >>> selector = EL2N(warmup=0.1, seed=0)
        >>> selector.bind(4)
        >>> logits = torch.tensor([[5.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
        >>> errors = selector.measure(logits, torch.tensor([0, 0, 1, 1]), None)
        >>> selector.observe(Feedback(torch.arange(4), value=errors))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 2]
    """

    fits_shards = True

    def __init__(self, *, warmup: float = 0.2, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        """Norms of the error, ||softmax(logits) - one-hot target||.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: (B,) int64 classes.
            features: Not used.

        Returns:
            (B,) float in [0, √2].
        """
        return error_norms(logits, targets)
