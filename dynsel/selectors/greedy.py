"""What the selectors share whose subset is the beginning of a greedy order."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.checks import check_flag, check_number
from dynsel._lib.groups import groups
from dynsel._lib.matrices import take
from dynsel.schedules import sample_count
from dynsel.selection import Selection, largest_remainder
from dynsel.selectors.checked import check_sample_features
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["GreedySelector", "centred"]


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

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    needs_features = True
    same_size = True
    place: Tensor | None

    def __init__(
        self,
        *,
        normalize: bool = False,
        max_keep_ratio: float = 1.0,
        class_balance: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.normalize = check_flag("normalize", normalize)
        why = "1 orders all samples"
        self.max_keep_ratio = check_number("max_keep_ratio", max_keep_ratio, above=0, at_most=1, why=why)
        self.add_state("place", None)

    @staticmethod
    @abstractmethod
    def order(rows: Tensor, count: int) -> Tensor:
        """The first rows in greedy order.

        Args:
            rows: (n, d) float32, features of a class.
            count: Number of rows to take, 1 .. n.

        Returns:
            (count,) int64 positions in `rows`, each at most once.
        """

    def fit(self, features: Any) -> None:
        """Order the samples: O(M N d / C) for M in the order and C classes of equal size.

        Args:
            features: (N, d) floating point; a class's rows must fit in memory as float32.

        Raises:
            ValueError: If it isn't one row per sample, all finite.
        """
        check_sample_features(features, self.num_samples)
        balanced = self.class_balance and self.labels is not None
        labels = self.labels.long() if balanced and self.labels is not None else torch.zeros(self.num_samples).long()
        sizes = torch.bincount(labels)
        # A smaller total may give a class one more than a larger one does (the Alabama paradox).
        counts = largest_remainder(sizes, sample_count(self.max_keep_ratio, self.num_samples)) + balanced
        self.place = torch.full((self.num_samples,), self.num_samples, dtype=torch.int32)
        for members, count in zip(groups(labels), counts.minimum(sizes).tolist(), strict=True):
            if count:
                rows = take(features, members)
                order = self.order(F.normalize(rows) if self.normalize else rows, count)
                self.place[members[order.cpu()]] = torch.arange(count, dtype=torch.int32)

    def scores(self, progress: float) -> Tensor:
        """Minus the place of each sample in the order of its class.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float32, 0 for the first of each class, -N for what the order doesn't reach.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.place is None:
            raise RuntimeError(f"{type(self).__name__} has no scores before `fit`")
        return -self.place.float()

    def select(self, progress: float, size: int) -> Selection:
        """The first samples of the order, in each class if `class_balance`; the same at every progress.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples that the keep ratio stands for, 1 .. N.

        Raises:
            ValueError: If the order ends before so many samples: `max_keep_ratio` is too low.
        """
        selection = super().select(progress, size)
        if self.place is not None and int(self.place[selection.indices].max()) == self.num_samples:
            raise ValueError(
                f"`max_keep_ratio` must cover the keep ratio: {self.max_keep_ratio:g} of {self.num_samples} samples "
                f"are ordered, {size} are asked for; raise `max_keep_ratio`"
            )
        return selection


def centred(rows: Tensor) -> Tensor:
    """Rows minus their mean, scaled so that no square of float32 over- or underflows.

    Args:
        rows: (n, d) floating point, finite.

    Returns:
        (n, d) float32 in [-1, 1]; all rows share one scale.
    """
    y = (rows - rows.mean(0, dtype=torch.float64)).float()
    return y / y.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
