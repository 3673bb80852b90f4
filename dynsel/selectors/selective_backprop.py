"""Selective backprop: candidates drawn by the rank of their loss, by a forward pass of the model itself."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.checks import check_number
from dynsel.selection import gumbel, top_k
from dynsel.selectors.batch import CandidateSelector
from dynsel.selectors.ranking import loss_rank

__all__ = ["SelectiveBackprop"]


class SelectiveBackprop(CandidateSelector):
    """Prefers the candidates that the model finds hardest as it is.

    Draws without replacement with probabilities in proportion to r^β, where r in (0, 1) is the rank of the loss among
    all candidates of the batch. Costs a forward pass of every candidate: at keep ratio ρ, 1/ρ per sample trained on.

    Deviations from the paper: ranks are those within the batch of candidates, there those among the last losses
    of training; and the number that stays is exact, where there each candidate is kept or not by itself.

    β = None, ours, takes the highest of r + `noise` times Gumbel noise: a draw in proportion to exp(r / noise), under
    which easy candidates stay possible where r^β all but excludes them.

    Args:
        beta: Preference β for high losses, above 0; None takes the highest.
        noise: Scale of the Gumbel noise on the rank where β is None, at least 0.
        shrink: Load batches of B instead of B / ρ and train on ρ B.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Jiang et al. (2019), Accelerating Deep Learning by Focusing on the Biggest Losers, arXiv:1910.00762.

    Example:
        >>> selector = SelectiveBackprop(beta=None)
        >>> selector.keep(torch.arange(4), torch.tensor([0.1, 2.0, 0.3, 1.5]), 2, torch.Generator()).tolist()
        [1, 3]
    """

    def __init__(
        self, *, beta: float | None = 3.0, noise: float = 0.0, shrink: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(shrink=shrink, seed=seed)
        self.beta = None if beta is None else check_number("beta", beta, above=0, why="None takes the highest losses")
        self.noise = check_number("noise", noise, at_least=0)
        if self.noise and beta is not None:
            raise ValueError(f"`noise` is for beta=None; beta={beta} draws by itself")

    def scores(self, candidates: Tensor, losses: Tensor) -> Tensor:
        """β log r with r in (0, 1) the rank of the loss in the batch; r itself where β is None.

        Args:
            candidates: (c,) int64 positions in the data set; not used.
            losses: (c,) float64 of the model as it is.

        Returns:
            (c,) float64.
        """
        ranks = loss_rank(losses).double()
        return ranks if self.beta is None else self.beta * ranks.log()

    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw in proportion to r^β; where β is None, take the highest after noise.

        Args:
            scores: (c,) float64, as of `scores`; -inf never stays.
            count: How many stay, 1 .. c.
            generator: Source of the draws.

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """
        # The highest of log(p) + Gumbel noise are a draw by p without replacement.
        scale = self.noise if self.beta is None else 1.0
        return top_k(scores + scale * gumbel(len(scores), generator) if scale else scores, count)
