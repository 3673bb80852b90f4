"""Witness: what brings the characteristic function of what was trained on nearer to that of the whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import check_integer
from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, witness
from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.terms.base import Material, Term

__all__ = ["Witness"]


class Witness(Term):
    """How much a sample brings the characteristic function of what was trained on nearer to that of the whole.

    Rank of `dynsel.cfd.witness` for the gap between the whole set and the samples weighted by their uses. The sums
    are made anew each epoch: running ones would depend on how often training was interrupted.

    Args:
        num_frequencies: Number F of Gaussian frequencies; their scale is 1 / median distance of the features.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.
    """

    needs_features = True
    keeps_features = True
    frequencies: Tensor | None
    target: Tensor | None

    def __init__(self, num_frequencies: int = 1024) -> None:
        self.num_frequencies = check_integer("num_frequencies", num_frequencies, at_least=1)
        # The features are no part of the state, they may be larger than memory.
        self._features: Any = None
        self.add_state("frequencies", None)
        self.add_state("target", None)

    @property
    def ready(self) -> bool:
        return self._features is not None

    def prepare(self) -> None:
        self._features = None

    def fit(self, material: Material) -> None:
        resumed = self._features is None and self.target is not None
        self._features = material.features
        if resumed:
            return
        if self.frequencies is None:
            generator = torch.Generator().manual_seed(material.seed)
            scale = median_scale(self._features, generator)
            self.frequencies = gaussian_frequencies(self.num_frequencies, self._features.shape[1], scale, generator)
        self.target = characteristic_sums(self._features, self.frequencies).value()

    def values(self, usage: Tensor) -> Tensor:
        if self.frequencies is None or self.target is None:
            raise RuntimeError("Witness has no values before `fit`")
        if not bool(usage.any()):
            return torch.zeros(len(usage))
        now = characteristic_sums(self._features, self.frequencies, usage.float()).value()
        return rank_within_class(witness(self._features, self.frequencies, self.target - now).cpu())
