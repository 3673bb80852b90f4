"""RCAP: class budgets by what is still to be learned in a class, and a draw by loss within each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import Selection, balanced_top_k, gumbel, largest_remainder
from dynsel.selectors.loss_selector import LossSelector
from dynsel.selectors.ranking import class_budgets, rotation_scores

__all__ = ["RCAP"]


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
        temperature: Temperature of the softmax, above 0; the paper's β, for which the authors try 1/3 to 3. Small = the
            highest losses only.
        max_loss: Losses above count as this, above 0; None takes log C, the cross entropy of guessing among
            the C classes; for other losses give a number.
        class_balance: Keep the same share of every class instead of the budgets; only the draws are by loss then.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Hassan, Khare and Paik (2026), RCAP: Robust, Class-Aware, Probabilistic Dynamic Dataset Pruning,
        arXiv:2606.11761.

    Example:
        >>> from dynsel.selectors import Feedback
        >>> selector = RCAP(temperature=0.01, seed=0)
        >>> selector.bind(6, torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> selector.observe(Feedback(torch.arange(6), per_sample_loss=torch.tensor([0.1, 0.6, 0.1, 0.5, 0.2, 0.4])))
        >>> selector.select(0.5, size=3).indices.tolist()  # shares sqrt(4/6) and sqrt(2/6): budgets 2 and 1
        [1, 3, 5]
    """

    before: Tensor

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        max_loss: float | None = None,
        class_balance: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(smoothing=0.0, class_balance=class_balance, seed=seed)
        self.temperature = check_number("temperature", temperature, above=0, why="1 by default")
        why = "None takes log C for C classes"
        self.max_loss = None if max_loss is None else check_number("max_loss", max_loss, above=0, why=why)
        self.add_state("before", 0)

    @property
    def needs_labels(self) -> bool:
        """True: budgets and importance are of classes."""
        return True

    def select(self, progress: float, size: int) -> Selection:
        """A draw of each class's budget, by importance.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples to take, 1 .. N, met exactly.
        """
        assert self.labels is not None  # `bind` wants them
        sizes = np.bincount(self.labels.numpy())
        ceiling = math.log(np.count_nonzero(sizes)) if self.max_loss is None else self.max_loss
        # Relative to the ceiling, so that no exponential overflows.
        logits = (
            np.nan_to_num(self.average.numpy().astype(np.float64), nan=ceiling).clip(0, ceiling) - ceiling
        ) / self.temperature
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
