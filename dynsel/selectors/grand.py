"""GraNd: the samples whose loss has the largest gradient early in training."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.training_score import MeanScore, error_norms

__all__ = ["GraNd"]


class GraNd(MeanScore):
    """The samples of largest norm of the cross entropy's gradient by the last linear layer, fixed early in training.

    With g = softmax(logits) - one-hot target and h what the layer takes in, the gradient by bias and weights is g and
    g ⊗ h, and its norm ||g|| sqrt(1 + ||h||²); no backward pass is needed.

    Deviations from the paper, which takes the gradient by all weights at initialisation or early on, as the mean
    of ten networks: the last layer alone, as its ports do, and the mean over the uses of the sample in the training's
    own first part, during which it rotates at random (see `TrainingScore`).

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
        >>> selector = GraNd(warmup=0.1, seed=0)
        >>> selector.bind(3)
        >>> logits, features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]), torch.tensor([[1.0], [1.0], [3.0]])
        >>> norms = selector.measure(logits, torch.tensor([0, 1, 1]), features)
        >>> selector.observe(Feedback(torch.arange(3), value=norms))
        >>> selector.select(0.5, size=1).indices.tolist()
        [2]
    """

    fits_shards = True
    measures_features = True

    def __init__(self, *, warmup: float = 0.2, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        """Norms of the cross entropy's gradient by bias and weights of the last linear layer.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: (B,) int64 classes.
            features: (B, d) float32, what the last linear layer took in; further dimensions are flattened.

        Returns:
            (B,) float, at least 0.

        Raises:
            ValueError: If there are no features.
        """
        if features is None:
            raise ValueError("GraNd needs what the last linear layer takes in, (B, d), beside logits and targets")
        return error_norms(logits, targets) * (1 + features.flatten(1).square().sum(1)).sqrt()
