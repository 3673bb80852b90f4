"""RCAP: class budgets by what is still to be learned in a class, and a draw by loss within each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.selection import Selection, balanced_top_k, gumbel, largest_remainder
from dynsel.selectors.base import rotation_scores
from dynsel.selectors.loss import LossSelector

__all__ = ["RCAP", "class_budgets"]


class RCAP(LossSelector):
    """Shares the epoch among the classes by their losses, then draws in each class by the samples' losses.

    The importance p_i of a sample is the softmax, within its class, of l_i / β, with l_i its last known loss clipped to
    [0, log C]; a sample without a finite loss counts as clipped. Class c gets a budget in proportion to
    sqrt(L_c P_c), with P_c its share of the data set and L_c the importance of those of its samples that were
    trained on since the last `select`, but no more than its size (`class_budgets`). In each class the
    samples are drawn without replacement with probabilities in proportion to p_i. Before the first losses every
    L_c is 1 and each class rotates at random.

    Deviations from the published code: the budgets are water-filled and sum to exactly the size asked for (that code
    shares out the whole budget again after classes were capped, and rounds every class up, so that it takes
    too many); a class of which nothing was trained on has L_c = 1, as at the start, else it would never come back.

    Args:
        beta: Temperature β of the softmax, above 0; the authors try 1/3 to 3. Small = the highest losses only.
        max_loss: Losses above count as this, above 0; None takes log C, the cross entropy of guessing among
            the C classes; for other losses give a number.
        class_balance: Keep the same share of every class instead of the budgets; only the draws are by loss then.
        seed: Seed of the draws; None takes the run's seed.

    Reference:
        Hassan, Khare and Paik (2026), RCAP: Robust, Class-Aware, Probabilistic Dynamic Dataset Pruning,
        arXiv:2606.11761.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = RCAP(beta=0.01, seed=0)
        >>> selector.bind(6, torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> selector.observe(Feedback(torch.arange(6), per_sample_loss=torch.tensor([0.1, 0.6, 0.1, 0.5, 0.2, 0.4])))
        >>> selector.select(0.5, size=3).indices.tolist()  # shares sqrt(4/6) and sqrt(2/6): budgets 2 and 1
        [1, 3, 5]
    """

    state_names = (*LossSelector.state_names, "before")

    def __init__(
        self,
        *,
        beta: float = 1.0,
        max_loss: float | None = None,
        class_balance: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(smoothing=0.0, class_balance=class_balance, seed=seed)
        if not 0 < beta < math.inf:
            raise ValueError(f"`beta` must be above 0 and finite, got {beta}; it is the temperature, 1 by default")
        if max_loss is not None and not 0 < max_loss < math.inf:
            raise ValueError(f"`max_loss` must be above 0 and finite, got {max_loss}; None takes log C for C classes")
        self.beta, self.max_loss = beta, max_loss
        self.before = self.usage

    @property
    def needs_labels(self) -> bool:
        return True

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        super().bind(num_samples, labels, seed=seed)
        self.before = self.usage.clone()

    def select(self, progress: float, size: int) -> Selection:
        assert self.labels is not None  # `bind` wants them
        sizes = np.bincount(self.labels.numpy())
        ceiling = math.log(np.count_nonzero(sizes)) if self.max_loss is None else self.max_loss
        # Relative to the ceiling, so that no exponential overflows.
        logits = (
            np.nan_to_num(self.average.numpy().astype(np.float64), nan=ceiling).clip(0, ceiling) - ceiling
        ) / self.beta
        if self.class_balance:
            budgets = largest_remainder(torch.from_numpy(sizes), size)
        else:
            shares = np.sqrt(self._class_importance(self.labels.numpy(), logits) * sizes)
            budgets = class_budgets(torch.from_numpy(shares), torch.from_numpy(sizes), size)
        # Uses when the epoch begins: those that have more when it ends were trained on, whatever was told in parts.
        self.before = self.usage.clone()
        if bool(self.average.isnan().all()):
            rotation = rotation_scores(self.usage, self.generator)
            return Selection(balanced_top_k(rotation, self.labels, quotas=budgets))
        # The highest of log(p) + Gumbel noise: `weighted_draw` in all classes at once, and no p too small for it.
        keys = torch.from_numpy(logits) + gumbel(len(logits), self.generator)
        return Selection(balanced_top_k(keys, self.labels, quotas=budgets))

    def _class_importance(self, labels: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(C,) L_c: share of a class's importance that the samples trained on since the last `select` have."""
        weights = np.exp(logits)
        whole = np.bincount(labels, weights)
        used = np.bincount(labels, weights * (self.usage > self.before).numpy())
        return np.divide(used, whole, out=np.ones_like(whole), where=used > 0)


def class_budgets(shares: Tensor, sizes: Tensor, total: int) -> Tensor:
    """Whole-numbered budgets in proportion to `shares`, none above the size of its class, that sum to exactly `total`.

    Water-filling: budget_c = min(size_c, λ share_c) with the λ at which they sum to `total`; what isn't a whole number
    is rounded by `largest_remainder`.

    Args:
        shares: (C,) float, above 0 where the class has samples.
        sizes: (C,) integer, number of samples of each class.
        total: 0 .. the sum of the sizes.

    Returns:
        (C,) int64.

    Raises:
        ValueError: If `total` is out of range, or a class with samples has no share.

    Example:
        >>> class_budgets(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([10, 100, 100]), 130).tolist()
        [10, 40, 80]
    """
    available = int(sizes.sum())
    if not 0 <= total <= available:
        raise ValueError(f"`total` must be between 0 and the number of samples, {available}, got {total}")
    share, size = shares.double().numpy(), sizes.numpy()
    filled = size > 0
    if not (np.isfinite(share[filled]) & (share[filled] > 0)).all():
        raise ValueError(f"`shares` must be above 0 and finite for every class with samples, got {share[:8].tolist()}")
    budgets = np.zeros(len(size), dtype=np.int64)
    # The classes in the order in which they fill up as λ rises.
    order = np.flatnonzero(filled)[np.argsort(size[filled] / share[filled], kind="stable")]
    left = total - (np.cumsum(size[order]) - size[order])
    to_share = np.cumsum(share[order][::-1])[::-1]
    full = int(np.argmin(np.append(left * share[order] >= size[order] * to_share, False)))
    budgets[order[:full]] = size[order[:full]]
    if full < len(order):
        # In the order of the classes, so that ties go to the lower one.
        rest = np.sort(order[full:])
        budgets[rest] = largest_remainder(torch.from_numpy(share[rest]), int(left[full])).numpy()
    return torch.from_numpy(budgets)
