"""Herding: the samples whose mean is that of their class."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.matrices import check_matrix, take
from dynsel.schedules import sample_count
from dynsel.selection import Selection, largest_remainder
from dynsel.selectors.base import ScoreSelector

__all__ = ["GreedySelector", "Herding", "centred", "herding_order"]


class GreedySelector(ScoreSelector):
    """A fixed subset by a greedy order: a smaller one is the beginning of a larger one, in each class.

    The order is made once, by `fit`, and is all that the checkpoint needs: N x 4 bytes.

    Args:
        normalize: Scale each row of the features to length 1 first.
        max_keep_ratio: The largest keep ratio that will be asked for, in (0, 1]. The order ends there; making it
            takes time in proportion.
        class_balance: Order each class by itself and keep the same share of each; else all samples together.
        seed: Seed of the random rotation before there are features; None takes the run's seed.

    Attributes:
        place: (N,) int32, place of each sample in the order of its class; N if the order ends before it.
    """

    needs_features = True
    state_names = ("usage", "place")

    def __init__(
        self,
        *,
        normalize: bool = False,
        max_keep_ratio: float = 1.0,
        class_balance: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        if not 0 < max_keep_ratio <= 1:
            raise ValueError(f"`max_keep_ratio` must be in (0, 1], got {max_keep_ratio}; 1 orders all samples")
        self.normalize, self.max_keep_ratio = normalize, max_keep_ratio
        self.place: Tensor | None = None

    @property
    def ready(self) -> bool:
        return self.place is not None

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        super().bind(num_samples, labels, seed=seed)
        self.place = None

    @staticmethod
    @abstractmethod
    def order(rows: Tensor, count: int) -> Tensor:
        """The first `count` of the n rows (n, d) in greedy order: (count,) int64."""

    def fit(self, features: Any) -> None:
        """Order the samples: O(M N d / C) for M in the order and C classes of equal size.

        Args:
            features: (N, d) floating point; a class's rows must fit in memory as float32.

        Raises:
            ValueError: If it isn't one row per sample, all finite.
        """
        check_matrix(features)
        if len(features) != self.num_samples:
            raise ValueError(f"`features` must have one row a sample: expected {self.num_samples}, got {len(features)}")
        balanced = self.class_balance and self.labels is not None
        labels = self.labels.long() if balanced and self.labels is not None else torch.zeros(self.num_samples).long()
        sizes = torch.bincount(labels)
        # A smaller total may give a class one more than a larger one does (the Alabama paradox).
        counts = largest_remainder(sizes, sample_count(self.max_keep_ratio, self.num_samples)) + balanced
        self.place = torch.full((self.num_samples,), self.num_samples, dtype=torch.int32)
        by_class, ends = torch.argsort(labels, stable=True), sizes.cumsum(0)
        for size, count, end in zip(sizes.tolist(), counts.minimum(sizes).tolist(), ends.tolist(), strict=True):
            if count:
                members = by_class[end - size : end]
                rows = take(features, members)
                order = self.order(F.normalize(rows) if self.normalize else rows, count)
                self.place[members[order.cpu()]] = torch.arange(count, dtype=torch.int32)

    def scores(self, progress: float) -> Tensor:
        if self.place is None:
            raise RuntimeError(f"{type(self).__name__} has no scores before `fit`")
        return -self.place.float()

    def select(self, progress: float, size: int) -> Selection:
        selection = super().select(progress, size)
        if self.place is not None and int(self.place[selection.indices].max()) == self.num_samples:
            raise ValueError(
                f"`max_keep_ratio` must cover the keep ratio: {self.max_keep_ratio:g} of {self.num_samples} samples "
                f"are ordered, {size} are asked for; raise `max_keep_ratio`"
            )
        return selection


class Herding(GreedySelector):
    """The fixed subset whose mean features follow the mean of the class, one sample after the other.

    After t picks with the sum s the next is arg min_x ||(t + 1) μ - s - x||, each sample at most once. (DeepCore's
    port takes the arg max, which picks the worst samples; tables made with it are not of this method.)

    Args:
        normalize: Scale each row of the features to length 1 first.
        max_keep_ratio: The largest keep ratio that will be asked for, in (0, 1]; making the order takes time in
            proportion.
        class_balance: Herd each class to its own mean and keep the same share of each; else all samples together.
        seed: Seed of the random rotation before there are features; None takes the run's seed.

    Reference:
        Welling (2009), Herding Dynamical Weights to Learn, ICML.

    Example:
        >>> selector = Herding(class_balance=False)
        >>> selector.bind(5)
        >>> selector.fit(torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]]))  # mean 4
        >>> [selector.select(0.0, size).indices.tolist() for size in (1, 2, 3)]
        [[2], [2, 3], [1, 2, 3]]
    """

    @staticmethod
    def order(rows: Tensor, count: int) -> Tensor:
        return herding_order(rows, count)


def herding_order(rows: Tensor, count: int) -> Tensor:
    """The first `count` rows in herding order; ties to the lower row.

    Args:
        rows: (n, d) float32.
        count: 1 .. n.

    Returns:
        (count,) int64, on the device of the rows.
    """
    # With y = x - μ the distance is ||Σ y + y||, of which only ||y||² + 2 y·Σy depends on the candidate.
    y = centred(rows)
    squares = y.square().sum(1)
    total = torch.zeros(y.shape[1], dtype=torch.float64, device=y.device)
    picks = []
    for _ in range(count):
        # Indexed by tensors of one element: a GPU need not wait for the result of each pick.
        pick = torch.addmv(squares, y, total.float(), alpha=2).argmin().view(1)
        squares.index_fill_(0, pick, torch.inf)
        total += y.index_select(0, pick)[0]
        picks.append(pick)
    return torch.cat(picks)


def centred(rows: Tensor) -> Tensor:
    """The rows minus their mean, scaled so that no square of float32 over- or underflows."""
    y = (rows - rows.mean(0, dtype=torch.float64)).float()
    return y / y.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
