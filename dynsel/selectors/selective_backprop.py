"""Selective backprop: the candidates of highest loss, by a forward pass of the model itself."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selection import top_k
from dynsel.selectors.batch import CandidateSelector

__all__ = ["SelectiveBackprop"]


class SelectiveBackprop(CandidateSelector):
    """Keeps the candidates that the model finds hardest as it is.

    Costs a forward pass of every candidate: at keep ratio ρ, 1/ρ forward passes a sample trained on.

    Deviation from the paper: the highest are kept; there each is kept with a probability that grows with its rank.

    Reference:
        Jiang et al. (2019), Accelerating Deep Learning by Focusing on the Biggest Losers, arXiv:1910.00762.

    Example:
        >>> selector = SelectiveBackprop()
        >>> selector.keep(torch.arange(4), torch.tensor([0.1, 2.0, 0.3, 1.5]), 2, torch.Generator()).tolist()
        [1, 3]
    """

    def scores(self, candidates: Tensor, losses: Tensor) -> Tensor:
        return losses

    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        return top_k(scores, count)
