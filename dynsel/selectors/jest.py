"""JEST: the candidates that the model still finds harder than a reference model does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import as_tensor, check_integer, check_number
from dynsel.selection import gumbel, top_k
from dynsel.selectors.batch import CandidateSelector

__all__ = ["JEST", "draw_in_chunks"]

WAY_OUT = (
    "the path of an .npy file or a tensor with the loss of each sample under a reference model; "
    "`python recipes/reference_losses.py` makes one"
)


class JEST(CandidateSelector):
    """Draws candidates by learnability: loss of the model as it is, minus loss of a reference model.

    High is what can be learned and isn't yet; what is hard for the reference too (noise, wrong labels) is low. The part
    that stays is drawn in chunks: the first uniformly, each further one without replacement with probabilities
    softmax(learnability / temperature). The losses of classification have no terms between samples, so a chunk
    depends on those before it only by what is left.

    Costs a forward pass of every candidate; the reference's losses are made once, beforehand.

    Args:
        reference: (N,) losses of the samples under the reference model, finite: a tensor, an array or the path of an
            `.npy` file. Made without augmentation, by a model that didn't learn these very samples by heart.
        chunks: Number of chunks, at least 1.
        temperature: Temperature of the softmax, at least 0; 0 takes the highest, all at once.
        shrink: Load batches of B instead of B / ρ and train on ρ B.
        seed: Seed of the draws; None takes the run's seed.

    Reference:
        Evans et al. (2024), Data curation via joint example selection further accelerates multimodal learning,
        arXiv:2406.17711.

    Raises:
        FileNotFoundError: From `bind`, if there is no such file.
        ValueError: If a number is out of range; from `bind`, if `reference` doesn't fit the data set.

    Example:
        >>> selector = JEST(reference=torch.tensor([0.0, 1.9, 0.1, 0.2]), temperature=0)
        >>> selector.bind(4)
        >>> selector.keep(torch.arange(4), torch.tensor([0.1, 2.0, 0.3, 1.5]), 2, torch.Generator()).tolist()
        [2, 3]
    """

    also_needs = (*CandidateSelector.also_needs, "reference losses")
    free_arguments = CandidateSelector.free_arguments | {"reference"}

    def __init__(
        self,
        *,
        reference: Any = None,
        chunks: int = 16,
        temperature: float = 1.0,
        shrink: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(shrink=shrink, seed=seed)
        self.reference = reference
        self.chunks = check_integer("chunks", chunks, at_least=1)
        self.temperature = check_number("temperature", temperature, at_least=0, why="0 takes the highest")
        self._losses = torch.zeros(0)

    def prepare(self) -> None:
        """Read the losses of the reference model.

        Raises:
            FileNotFoundError: If there is no such file.
            TypeError: If `reference` is neither real numbers nor a path.
            ValueError: If there is none, or it isn't one finite loss per sample.
        """
        if self.reference is None:
            raise ValueError(f"JEST needs `reference`, {WAY_OUT}")
        losses = _load(self.reference)
        if self._pool is not None and len(losses) == self._dataset_length:
            losses = losses[self._pool]
        if losses.shape != (self.num_samples,):
            raise ValueError(
                f"`reference` must have one loss per sample, shape ({self.num_samples},), got {tuple(losses.shape)}"
            )
        if not bool(torch.isfinite(losses).all()):
            raise ValueError(f"`reference` must be finite, got {int((~torch.isfinite(losses)).sum())} that aren't")
        self._losses = losses

    def scores(self, candidates: Tensor, losses: Tensor) -> Tensor:
        """Learnability: the loss now minus the reference's.

        Args:
            candidates: (c,) int64 positions in the data set.
            losses: (c,) float64 of the model as it is.

        Returns:
            (c,) float64.
        """
        return losses - self._losses[candidates]

    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw by softmax in chunks, or take the highest at temperature 0.

        Args:
            scores: (c,) float64 learnabilities; -inf never stays.
            count: How many stay, 1 .. c.
            generator: Source of the draws.

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """
        if self.temperature == 0:
            return top_k(scores, count)
        return draw_in_chunks(scores / self.temperature, count, self.chunks, generator)


def draw_in_chunks(logits: Tensor, count: int, chunks: int, generator: torch.Generator) -> Tensor:
    """Draw without replacement: one chunk uniformly, the others with probabilities softmax(logits).

    Args:
        logits: (c,) float64; -inf is never drawn, unless too few others are left.
        count: Number to draw, 1 .. c.
        chunks: Number of chunks; `count` is shared out among them, the first ones having one more.
        generator: Source of the draws.

    Returns:
        (count,) int64 positions, ascending.
    """
    left, possible = logits.clone(), torch.isfinite(logits)
    for i in range(min(chunks, count)):  # no further one has any
        size = count // chunks + (i < count % chunks)
        # The highest of logit + Gumbel noise are a draw by softmax without replacement.
        base = torch.where(possible, 0.0, -torch.inf).to(left) if i == 0 else left
        left[top_k(base + gumbel(len(left), generator), size)] = -torch.inf
        possible = torch.isfinite(left)
    return (torch.isfinite(logits) & ~possible).nonzero().squeeze(1)


def _load(source: Any) -> Tensor:
    losses = as_tensor("reference", source, "a loss for each sample under a reference model")
    if losses.is_complex():
        raise TypeError(f"`reference` must be real losses, got {losses.dtype}")
    return losses.double()
