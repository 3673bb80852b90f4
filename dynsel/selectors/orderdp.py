"""OrderDP: the highest losses of a pool that is drawn anew each epoch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import Selection, balanced_top_k, top_k
from dynsel.selectors.loss_selector import LossSelector

__all__ = ["OrderDP"]


class OrderDP(LossSelector):
    """Draws a pool of s of the n samples, all alike, and takes of it the q of highest last known loss.

    Published: the two steps; the kept share is exactly q / n; nothing is weighted, no epoch at the end is on full data.
    Of any s the expected loss of what is taken is that of the highest q of s drawn ones, an order statistic, which is
    what the method minimises. Its numbers are s / n = 0.5 and q / s = 0.6, that is a keep ratio of 0.3.

    Ours: the keep ratio says q, and s = q / `top_share`, but no more than n, so that the published numbers come of the
    published keep ratio; from a keep ratio of `top_share` on the pool is everything, and the choice is the plain
    one of the highest losses. Samples without a known loss come before all others in the pool, equal losses in random
    order; with `class_balance` pool and choice are of each class in its share.

    Args:
        top_share: Share of the pool that is taken, in (0, 1]; the paper's q / s. 1 is a random subset.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        OrderDP (2026), ICLR, arXiv:2606.08574. From a summary of the paper, which was not at hand itself.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = OrderDP(top_share=0.5, seed=0)
        >>> selector.bind(4)
        >>> selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
        >>> selector.select(0.5, size=2).indices.tolist()  # the pool is everything
        [1, 3]
    """

    def __init__(self, *, top_share: float = 0.6, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(smoothing=0.0, class_balance=class_balance, seed=seed)
        why = "it is the share of the pool that is taken, 0.6 by default"
        self.top_share = check_number("top_share", top_share, above=0, at_most=1, why=why)

    def select(self, progress: float, size: int) -> Selection:
        """The highest losses of a fresh pool.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples q to take, 1 .. N, out of a pool of q / `top_share`.
        """
        # 0.3 n / 0.6 must not become one more by rounding.
        pool_size = min(self.num_samples, math.ceil(size / self.top_share - 1e-6))
        draw = torch.rand(self.num_samples, generator=self.generator)
        pool = self._highest(draw, pool_size).numpy()
        # By loss, equal ones by the draw: their places are scores without ties.
        losses = np.nan_to_num(self.average.numpy(), nan=np.inf)
        place = np.empty(self.num_samples)
        place[np.lexsort((draw.numpy(), losses))] = np.arange(self.num_samples)
        # What isn't in the pool comes last, for a class whose share of a smaller number is rounded up.
        scores = place - self.num_samples
        scores[pool] += self.num_samples
        return Selection(self._highest(torch.from_numpy(scores), size))

    def _highest(self, scores: Tensor, size: int) -> Tensor:
        if self.class_balance and self.labels is not None:
            return balanced_top_k(scores, self.labels, size)
        return top_k(scores, size)
