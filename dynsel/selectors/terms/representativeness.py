"""Representativeness: samples whose factors are frequent."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.terms.base import FixedTerm, Material

__all__ = ["Representativeness"]


class Representativeness(FixedTerm):
    """How frequent a sample's sparse-autoencoder factors are (see `RRD` and `factor_scores`)."""

    def raw(self, material: Material) -> Tensor:
        return material.factors[0]
