"""PFB: of each batch what lies where samples are few."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import check_integer, check_number
from dynsel._lib.matrices import Matrix, blocks, take
from dynsel.cfd import median_scale
from dynsel.selection import top_k
from dynsel.selectors.batch import BatchSelector
from dynsel.selectors.checked import check_sample_features
from dynsel.selectors.ranking import rotation_scores

__all__ = ["PFB"]

_STEP = 0.01  # of the centres' moving average, as published
_BATCH = 256


class PFB(BatchSelector):
    """Keeps the samples of a batch whose features lie where the density is lowest.

    Importance I = 1 / (f(x) + r), with f a kernel density estimate by a hundred centres, which are moving averages
    of the features near them.

    Published: the formula; about 100 centres, moved by averages of step 0.01; of a batch the rows of low importance
    stop after the first stage of the network. Here nothing is computed of what is dropped: features are those of an
    earlier pass, from wherever the selector's come, and the choice falls before the batch is loaded. Ours as well,
    where the summary at hand is silent: a Gaussian kernel as wide as the median distance; f in units of its mean over
    the data; r = 0.1; exactly the highest of each batch stay; a fit is one pass in random order, of which the first
    rows are the centres to begin with. Until features are there the candidates used least stay.

    Args:
        num_centres: Number of centres, at least 1; of fewer samples all are centres.
        offset: How much what is rare counts: r, above 0, in units of the mean density.
        shrink: Take batches of B candidates instead of B / ρ and train on ρ B, the paper's form.
        refresh: Fit anew after so many epochs, where features are captured from the model in training; 0 = never.
        seed: Seed of the draws; None takes the run's seed.

    Attributes:
        importance: (N,) float32; None before `fit`.
        centres: (num_centres, d) float32; None before `fit`.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        PFB (2025), ICCV, arXiv:2506.23674. From a summary of the paper, which was not at hand itself.

    Example:
        >>> selector = PFB(num_centres=3, seed=0)
        >>> selector.bind(4)
        >>> selector.fit(torch.tensor([[0.0], [0.1], [0.2], [9.0]]))
        >>> selector.importance.argmax()
        tensor(3)
    """

    needs_features = True
    keeps_features = True
    importance: Tensor | None
    centres: Tensor | None

    def __init__(
        self,
        *,
        num_centres: int = 100,
        offset: float = 0.1,
        shrink: bool = False,
        refresh: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(shrink=shrink, seed=seed)
        self.num_centres = check_integer("num_centres", num_centres, at_least=1)
        self.offset = check_number("offset", offset, above=0, why="it is in units of the mean density, 0.1 by default")
        self.refresh = check_integer("refresh", refresh, at_least=0, why="it is a number of epochs, 0 = never")
        self.add_state("importance", None)
        self.add_state("centres", None)

    def fit(self, features: Any) -> None:
        """Draw centres, move them by one pass over the features, and take the density of all samples.

        Args:
            features: (N, d) floating point.

        Raises:
            ValueError: If it isn't one row per sample, all finite.
        """
        check_sample_features(features, self.num_samples)
        # Another order each time, and the same one after a restart.
        seed = (self.generator.initial_seed() + int(self.usage.sum())) % 2**63
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.num_samples, generator=generator)
        # Anew each time: by centres of features that have moved far since, all would be as rare.
        centres = take(features, order[: self.num_centres])
        for rows in torch.split(order, _BATCH):
            centres = moved(centres, take(features, rows, centres.device))
        first = take(features, order[:1])
        alike = all(bool((take(features, rows) == first).all()) for rows in blocks(features))
        scale = 0.0 if alike else median_scale(features, generator)
        density = densities(features, centres, scale)
        self.importance = 1 / (density / density.mean() + self.offset)
        self.centres = centres.cpu()

    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        """The candidates of highest importance, ties to the earlier one; before there are features the least used.

        Args:
            candidates: (c,) int64 positions in the data set.
            count: How many stay, 1 .. c.
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (count,) int64 positions within the candidates, ascending.
        """
        if self.importance is None:
            return top_k(rotation_scores(self.usage[candidates], self.generator), count)
        return top_k(self.importance[candidates], count)


def moved(centres: Tensor, rows: Tensor) -> Tensor:
    """The centres, each a hundredth of the way nearer to the mean of those rows that it is the nearest to.

    Args:
        centres: (K, d) floats; one that is the nearest to no row stays where it is.
        rows: (B, d) floats, on the device of the centres.

    Returns:
        (K, d) floats.
    """
    nearest = _distances(rows, centres).argmin(1)
    total = torch.zeros_like(centres).index_add_(0, nearest, rows)
    counts = torch.bincount(nearest, minlength=len(centres))[:, None]
    return torch.where(counts > 0, centres + _STEP * (total / counts.clamp_min(1) - centres), centres)


def densities(features: Matrix, centres: Tensor, scale: float) -> Tensor:
    """Mean of Gaussian kernels about the centres.

    Args:
        features: (N, d) floating point.
        centres: (K, d) floats, the centres of the kernels.
        scale: 1 / the kernels' standard deviation; 0 makes all alike.

    Returns:
        (N,) float32 in [0, 1], on the CPU.
    """
    found = [
        (-0.5 * (scale * _distances(take(features, rows, centres.device), centres)).square()).exp().mean(1).cpu()
        for rows in blocks(features)
    ]
    return torch.cat(found)


def _distances(rows: Tensor, centres: Tensor) -> Tensor:
    """(B, K) distances; seen from the centres' middle, or float32 would lose them in features far from the origin."""
    middle = centres.mean(0)
    return torch.cdist(rows - middle, centres - middle)
