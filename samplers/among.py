"""Choosing among what a user's own sampler has drawn for an epoch: a part of the data set, or some samples twice.

Symbols: N samples of the data set, L entries of the order drawn, M of them to keep.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.selection import balanced_top_k, largest_remainder, top_k
from dynsel.selectors import Selector, checked_selection
from dynsel.selectors.checked import checked_scores
from dynsel.selectors.greedy import GreedySelector
from dynsel.selectors.ranking import rotation_scores
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["choose_among", "strata_of"]

# More kinds of weights than this are grouped by their size.
MOST_STRATA = 64


def choose_among(
    selector: Selector, order: Tensor, size: int, progress: float, strata: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Which entries of an order stay.

    Selectors that score take the entries of highest score. Of others, the selection from the whole data set is taken as
    far as it was drawn, made larger in proportion, and brought to the size asked for: what is too much goes at random,
    what is missing comes from the least used. A selector that decides its size by itself gets what of it was drawn.

    Args:
        selector: Bound to N samples, and fitted if it needs that.
        order: (L,) int64 positions in the data set, some perhaps twice.
        size: Number M of places to choose, 1 .. L.
        progress: Share of training done, in [0, 1].
        strata: (N,) codes of kinds that must keep their shares of the order; None = the selector's classes if it
            balances them, else none.

    Returns:
        (M,) int64 places in the order, ascending; and (N,) loss weights, or None.
    """
    if isinstance(selector, ScoreSelector) and type(selector).select in (ScoreSelector.select, GreedySelector.select):
        scores, weights = _scores(selector, progress), None
    else:
        scores, weights = _by_selection(selector, size / len(order), progress)
        if not selector.exact:
            return (scores[order] > 0).nonzero()[:, 0], weights
    entries = scores[order]
    if selector.class_balance and selector.labels is not None:
        strata = selector.labels
    if isinstance(selector, ScoreSelector) and selector.epsilon:
        entries = _partly_drawn(entries, size, selector)
    if strata is None:
        return top_k(entries, size), weights
    kinds = strata[order].long()
    return balanced_top_k(entries, kinds, quotas=largest_remainder(torch.bincount(kinds), size)), weights


def _scores(selector: ScoreSelector, progress: float) -> Tensor:
    """(N,) float, higher = rather take it."""
    if not selector.ready:
        return rotation_scores(selector.usage, selector.generator)
    return checked_scores(f"{type(selector).__name__}.scores", selector.scores(progress), selector.num_samples)


def _partly_drawn(entries: Tensor, size: int, selector: ScoreSelector) -> Tensor:
    """Scores whose top `size` are the highest of these, and for a share ε of it any others at random."""
    mixed = torch.rand(len(entries), generator=selector.generator)
    greedy = size - int(selector.epsilon * size + 0.5)
    if greedy:
        mixed[top_k(entries, greedy)] = 2.0
    return mixed


def _by_selection(selector: Selector, share: float, progress: float) -> tuple[Tensor, Tensor | None]:
    """Scores of what a selector takes from the whole data set, this share of it: above 0 if it is taken."""
    count = selector.num_samples
    # The same number whatever was drawn, and not one more by rounding: another one may mean another subset.
    asked = min(count, max(1, math.ceil(share * count - 1e-6)))
    chosen = checked_selection(selector, progress, asked)
    scores = torch.full((count,), -1.0)
    if selector.exact:
        scores = _between(rotation_scores(selector.usage, selector.generator), -1.0, 0.0)
        scores[chosen.indices.long()] = 1 + torch.rand(len(chosen), generator=selector.generator)
    else:
        scores[chosen.indices.long()] = 1.0
    if chosen.weights is None:
        return scores, None
    return scores, torch.ones(count).index_copy_(0, chosen.indices.long(), chosen.weights.float())


def _between(scores: Tensor, low: float, high: float) -> Tensor:
    """The same order in (low, high)."""
    ranks = torch.empty(len(scores))
    ranks[torch.argsort(scores, stable=True)] = torch.arange(1.0, len(scores) + 1)
    return low + (high - low) * ranks / (len(scores) + 1)


def strata_of(base: Any, order: Tensor, pool: Tensor | None, codes: Tensor | None) -> Tensor | None:
    """Kinds of samples that a sampler draws more often than others, whose shares a selection is to leave as they are.

    Args:
        base: The sampler. Its `weights`, if it has one for each sample, tell the kinds.
        order: (L,) int64 positions that it drew.
        pool: As `SelectionSampler` has it.
        codes: (N,) class codes, which tell the kinds otherwise; None = unknown.

    Returns:
        (N,) int64 codes; None if nothing was drawn twice, or nothing tells the kinds.
    """
    if len(np.unique(order.numpy())) == len(order):
        return None
    weights = getattr(base, "weights", None)
    numbers = torch.zeros(0) if weights is None else torch.as_tensor(weights).double()
    if numbers.ndim != 1 or len(numbers) <= int(order.max() if pool is None else pool.max()):
        return codes
    numbers = numbers if pool is None else numbers[pool]
    kinds: Tensor
    kinds, found = torch.unique(numbers, return_inverse=True)
    if len(kinds) > MOST_STRATA:
        edges = np.quantile(numbers.numpy(), np.linspace(0, 1, 17)[1:-1])
        found = torch.bucketize(numbers, torch.from_numpy(edges))
    return torch.as_tensor(found)
