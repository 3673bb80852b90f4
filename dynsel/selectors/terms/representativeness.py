"""Representativeness: samples whose factors are frequent."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.terms.base import FixedTerm, Material

__all__ = ["Representativeness"]


class Representativeness(FixedTerm):
    """How frequent a sample's sparse-autoencoder factors are (see `RRD` and `factor_scores`).

    Reference:
        Zhou, Hua, Guo, Jia (2026), Rethinking Representativeness and Diversity in Dynamic Data Selection,
        arXiv:2603.04981, for coverage of frequent factors; the formula R_i = Σ_j w_ij p_j is ours.
    """

    def raw(self, material: Material) -> Tensor:
        """Representativeness of each sample's factors.

        Args:
            material: Features, labels and what several terms make of them.

        Returns:
            (N,) float32 in [0, 1].
        """
        return material.factors[0]
