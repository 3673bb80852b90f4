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
    are made anew each epoch: running ones would depend on how often training was interrupted. The term is ours.

    Args:
        num_frequencies: Number F of Gaussian frequencies; their scale is 1 / median distance of the features.

    Attributes:
        frequencies: (F, d) float32; None before `fit`.
        target: (F,) complex128, the characteristic function of the whole set; None before `fit`.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Jitkrittum et al. (2016), Interpretable Distribution Features with Maximum Testing Power, arXiv:1605.06796 (the
        witness function of two samples).
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
        """Whether features are at hand; after a restart they must be given again."""
        return self._features is not None

    def prepare(self) -> None:
        """Forget the features."""
        self._features = None

    def fit(self, material: Material) -> None:
        """Draw the frequencies once, and take the characteristic function of the whole set at them.

        After a restart only the features are taken: frequencies and target are part of the state.

        Args:
            material: Features, labels and what several terms make of them.
        """
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
        """How much each sample would close the gap between what was trained on and the whole.

        Args:
            usage: (N,) int32 uses so far.

        Returns:
            (N,) float32 ranks in [0, 1]; all 0 before anything was trained on.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.frequencies is None or self.target is None:
            raise RuntimeError("Witness has no values before `fit`")
        if not bool(usage.any()):
            return torch.zeros(len(usage))
        now = characteristic_sums(self._features, self.frequencies, usage.float()).value()
        return rank_within_class(witness(self._features, self.frequencies, self.target - now).cpu())
