"""Rarity: samples whose factors are rare."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.terms.base import FixedTerm, Material

__all__ = ["Rarity"]


class Rarity(FixedTerm):
    """How rare a sample's sparse-autoencoder factors are (see `RRD` and `factor_scores`).

    Reference:
        Zhou, Hua, Guo, Jia (2026), Rethinking Representativeness and Diversity in Dynamic Data Selection,
        arXiv:2603.04981, for rare factors as diversity; the formula D_i = Σ_j w_ij (-log p_j) / log N is ours.
    """

    def raw(self, material: Material) -> Tensor:
        """Rarity of each sample's factors.

        Args:
            material: Features, labels and what several terms make of them.

        Returns:
            (N,) float32 in [0, 1].
        """
        return material.factors[1]
