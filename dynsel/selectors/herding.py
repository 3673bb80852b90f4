"""Herding: the samples whose mean is that of their class."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.greedy import GreedySelector, centred

__all__ = ["Herding", "herding_order"]


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

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

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
        """The first rows in herding order, see `herding_order`.

        Args:
            rows: (n, d) float32, features of a class.
            count: Number of rows to take, 1 .. n.

        Returns:
            (count,) int64 positions in `rows`.
        """
        return herding_order(rows, count)


def herding_order(rows: Tensor, count: int) -> Tensor:
    """The first `count` rows in herding order; ties to the lower row.

    Args:
        rows: (n, d) float32, features of the n samples.
        count: Number of rows to take, 1 .. n.

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
