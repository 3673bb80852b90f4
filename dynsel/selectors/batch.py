"""Selection inside the batch: of each batch of candidates a part stays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dynsel._lib.checks import check_flag
from dynsel.selection import Selection
from dynsel.selectors.base import Selector

__all__ = ["BatchSelector", "CandidateSelector"]


class BatchSelector(Selector):
    """Decides, inside each batch of candidates, which samples stay, before any of them is loaded.

    An epoch's order is cut into batches of B / ρ candidates, with ρ the keep ratio and B the loader's batch size, of
    which B stay (`dynsel.samplers.batch`). What is dropped is never read, decoded or moved.

    Args:
        shrink: Take batches of B candidates instead and train on ρ B: smaller batches, as many optimiser steps as
            full data takes in an epoch. By default the batch that is trained on keeps its size.
        seed: Seed of the selector's draws; None takes the run's seed.

    Attributes:
        needs_stream: Whether it trains a network of its own on the candidates (`Proxy`), and must see every epoch.
        stream: What it needs for that; None while nothing is lent.
        work: What such a network has done, (2 or more,) float64: samples scored, operations; None without one.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    needs_stream: ClassVar[bool] = False
    stream: Any = None
    work: Any = None

    def __init__(self, *, shrink: bool = False, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.shrink = check_flag("shrink", shrink)

    def lend(self, stream: Any) -> None:
        """Lend the data of the training around it; for selectors with `needs_stream`.

        Args:
            stream: A `dynsel.selectors.proxy.Stream`, before each epoch; None ends the loan.
        """
        self.stream = stream

    def select_batches(self, candidates: Sequence[Tensor], counts: Sequence[int], progress: float) -> list[Tensor]:
        """Which candidates stay, of all batches of an epoch at once.

        Args:
            candidates: For each batch (c,) int64 positions in the data set.
            counts: How many of each stay, 1 .. c.
            progress: Share of training done, in [0, 1].

        Returns:
            For each batch (count,) int64 positions within its candidates, ascending.
        """
        return [self.select_batch(rows, count, progress) for rows, count in zip(candidates, counts, strict=True)]

    @abstractmethod
    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        """Which candidates of one batch stay.

        Args:
            candidates: (c,) int64 positions in the data set.
            count: How many stay, 1 .. c.
            progress: Share of training done, in [0, 1].

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """

    def select(self, progress: float, size: int) -> Selection:
        """The whole data set as one batch of candidates.

        Args:
            progress: Share of training done, in [0, 1].
            size: Number of samples that stay, 1 .. N.
        """
        if size == self.num_samples:
            return Selection(torch.arange(size))
        return Selection(self.select_batches([torch.arange(self.num_samples)], [size], progress)[0])


class CandidateSelector(Selector):
    """Decides inside each batch of candidates by their losses, which a forward pass of the model must tell first.

    Every sample is loaded, in batches of B / ρ, with ρ the keep ratio and B the loader's batch size; when they are on
    the device all are scored and B stay to be trained on. For that it needs `DynamicSelection`: nothing else
    knows the model.

    Args:
        shrink: Load batches of B instead and train on ρ B.
        seed: Seed of the selector's draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    exact = False
    also_needs: ClassVar[tuple[str, ...]] = ("a forward pass",)

    def __init__(self, *, shrink: bool = False, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.shrink = check_flag("shrink", shrink)

    def select(self, progress: float, size: int) -> Selection:
        """Every sample, since all are candidates.

        Args:
            progress: Share of training done, in [0, 1]; not used.
            size: Number of samples that the keep ratio stands for; not used.
        """
        return Selection(torch.arange(self.num_samples))

    def keep(self, candidates: Tensor, losses: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Which candidates stay.

        Args:
            candidates: (c,) int64 positions in the data set.
            losses: (c,) of the model as it is; what is not finite never stays.
            count: How many stay, 1 .. c.
            generator: Source of draws, another one for each batch and rank.

        Returns:
            (count,) int64 positions within the candidates, ascending.

        Raises:
            ValueError: If fewer candidates have a finite loss.
        """
        losses = losses.detach().cpu().double()
        scores = self.scores(candidates, losses)
        return self.keep_scored(torch.where(torch.isfinite(losses), scores, torch.nan), count, generator)

    def keep_scored(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Which candidates stay, for whoever has their scores by other means than `scores`.

        Args:
            scores: (c,) float64 on the CPU, one for each candidate; what is not finite never stays.
            count: How many stay, 1 .. c.
            generator: Source of draws, another one for each batch and rank.

        Returns:
            (count,) int64 positions within the candidates, ascending.

        Raises:
            ValueError: If fewer scores are finite.
        """
        finite = torch.isfinite(scores)
        if not 1 <= count <= len(scores):
            raise ValueError(f"`count` must be between 1 and the number of candidates, {len(scores)}, got {count}")
        if int(finite.sum()) < count:
            raise ValueError(
                f"only {int(finite.sum())} of {len(scores)} candidates have a finite loss and {count} are to be kept: "
                "training has diverged, or the data hold NaN; lower the learning rate, or look at the inputs"
            )
        kept = self.choose(torch.where(finite, scores, -torch.inf), count, generator)
        if len(kept) != count:
            raise ValueError(f"`{type(self).__name__}.choose` must return {count} positions, got {len(kept)}")
        return kept

    @abstractmethod
    def scores(self, candidates: Tensor, losses: Tensor) -> Tensor:
        """One number per candidate, from positions and losses.

        Args:
            candidates: (c,) int64 positions in the data set.
            losses: (c,) float64 on the CPU; where one isn't finite, what is returned for it doesn't count.

        Returns:
            (c,) float64, higher = rather keep it.
        """

    @abstractmethod
    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """The candidates that stay, by their scores.

        Args:
            scores: (c,) float64; -inf never stays, and at least `count` are above it.
            count: How many stay, 1 .. c.
            generator: Source of draws, another one for each batch and rank.

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """
