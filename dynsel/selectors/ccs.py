"""CCS: samples of all degrees of difficulty, but the hardest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_integer, check_number
from dynsel.selection import Selection, largest_remainder, top_k
from dynsel.selectors.aum import AUM
from dynsel.selectors.ranking import class_budgets

__all__ = ["CCS", "stratified_draw"]


class CCS(AUM):
    """Leaves out the samples of smallest area under the margin and draws evenly from all degrees of the rest.

    The hardest share `drop_hardest` goes, being wrong labels more often than not. What is left is cut into strata of
    equal width by its area under the margin (`AUM`); the places are shared out evenly among the strata, where one that
    has fewer samples gives all and leaves its places to the others; within a stratum the draw is uniform.

    Args:
        drop_hardest: Share of the samples to leave out, in [0, 1); the paper's β, which it tunes for each keep ratio
            (0 to 0.4). No more are left out than the keep ratio allows.
        strata: Number of strata, at least 1.
        warmup: Share of training that only gathers, in [0, 1).
        class_balance: Do so in each class, with the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Zheng et al. (2023), Coverage-centric Coreset Selection for High Pruning Rates, ICLR, arXiv:2210.15809.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = CCS(drop_hardest=0.2, strata=2, warmup=0.1, seed=0)
        >>> selector.bind(5)
        >>> selector.observe(Feedback(torch.arange(5), value=torch.tensor([-9.0, -8.0, -1.0, -0.5, 4.0])))
        >>> selector.select(0.5, size=4).indices.tolist()  # the last one is wrong, by 4
        [0, 1, 2, 3]
    """

    def __init__(
        self,
        *,
        drop_hardest: float = 0.1,
        strata: int = 50,
        warmup: float = 0.3,
        class_balance: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(warmup=warmup, class_balance=class_balance, seed=seed)
        why = "it is the share of the hardest to leave out"
        self.drop_hardest = check_number("drop_hardest", drop_hardest, at_least=0, below=1, why=why)
        self.strata = check_integer("strata", strata, at_least=1)

    def _chosen(self, scores: Tensor, size: int) -> Selection:
        draw = self._fixed_draw()
        share, strata = self.drop_hardest, self.strata
        if not self.class_balance or self.labels is None:
            return Selection(stratified_draw(scores, draw, size, share, strata))
        quotas = largest_remainder(torch.bincount(self.labels.long()), size).tolist()
        chosen = []
        for label, quota in enumerate(quotas):
            members = (self.labels == label).nonzero()[:, 0]
            if quota:
                chosen.append(members[stratified_draw(scores[members], draw[members], quota, share, strata)])
        return Selection(torch.cat(chosen).sort().values)


def stratified_draw(hardness: Tensor, draw: Tensor, size: int, drop_hardest: float, strata: int) -> Tensor:
    """The same number from each stratum of hardness, as far as it has them, the hardest left out.

    Args:
        hardness: (N,) float, finite, higher = harder.
        draw: (N,) float; of a stratum those of the highest are taken.
        size: Number of samples to take, 1 .. N.
        drop_hardest: Share of the hardest to leave out, in [0, 1).
        strata: Number of strata, of equal width between the lowest and the highest hardness of the rest.

    Returns:
        (size,) int64, ascending.
    """
    count = len(hardness)
    rest = top_k(-hardness, max(size, count - int(drop_hardest * count + 0.5)))
    left = hardness[rest].double()
    low, high = left.min(), left.max()
    width = (high - low).clamp_min(torch.finfo(torch.float64).tiny)
    stratum = ((left - low) / width * strata).long().clamp(0, strata - 1)
    sizes = torch.bincount(stratum, minlength=strata)
    budgets = class_budgets((sizes > 0).double(), sizes, size)
    # By stratum, and in it by the draw: the first of each, up to its budget.
    order = np.lexsort((-draw[rest].numpy(), stratum.numpy()))
    place = np.arange(len(order)) - np.repeat((sizes.cumsum(0) - sizes).numpy(), sizes.numpy())
    taken = order[place < np.repeat(budgets.numpy(), sizes.numpy())]
    return rest[torch.from_numpy(np.sort(taken))].sort().values
