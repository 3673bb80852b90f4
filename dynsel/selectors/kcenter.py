"""k-center: every sample has a selected one near it."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.greedy import GreedySelector, centred

__all__ = ["KCenter", "kcenter_order"]


class KCenter(GreedySelector):
    """The fixed subset that covers the features: always the sample farthest from those already taken.

    The largest distance of any sample to its nearest selected one is at most twice the smallest possible. Starts
    from the sample nearest the mean of the class, so that nothing is drawn (the paper starts from a given pool, its
    ports from a random sample).

    Args:
        normalize: Scale each row of the features to length 1 first.
        max_keep_ratio: The largest keep ratio that will be asked for, in (0, 1]; making the order takes time in
            proportion.
        class_balance: Cover each class by itself and keep the same share of each; else all samples together.
        seed: Seed of the random rotation before there are features; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Sener and Savarese (2018), Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR,
        arXiv:1708.00489. The bound: Gonzalez (1985), Clustering to minimize the maximum intercluster distance.

    Example:
        >>> selector = KCenter(class_balance=False)
        >>> selector.bind(5)
        >>> selector.fit(torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]]))  # mean 4
        >>> [selector.select(0.0, size).indices.tolist() for size in (1, 2, 3)]
        [[2], [2, 4], [0, 2, 4]]
    """

    @staticmethod
    def order(rows: Tensor, count: int) -> Tensor:
        """The first rows in the order of k-center, see `kcenter_order`.

        Args:
            rows: (n, d) float32, features of a class.
            count: Number of rows to take, 1 .. n.

        Returns:
            (count,) int64 positions in `rows`.
        """
        return kcenter_order(rows, count)


def kcenter_order(rows: Tensor, count: int) -> Tensor:
    """The first `count` rows, the one nearest the mean and then the farthest from those before; ties to the lower row.

    Args:
        rows: (n, d) float32, features of the n samples.
        count: Number of rows to take, 1 .. n.

    Returns:
        (count,) int64, on the device of the rows.
    """
    y = centred(rows)
    squares = y.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    pick = squares.argmin().view(1)
    picks = [pick]
    for _ in range(count - 1):
        # ||a - b||² = ||a||² + ||b||² - 2 a·b: one matrix-vector product a pick.
        distance = torch.addmv(squares, y, y.index_select(0, pick)[0], alpha=-2).add_(squares.index_select(0, pick))
        torch.minimum(nearest, distance.clamp_min_(0), out=nearest)
        nearest.index_fill_(0, pick, -torch.inf)
        pick = nearest.argmax().view(1)
        picks.append(pick)
    return torch.cat(picks)
