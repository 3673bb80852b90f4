"""The summands of a score: one small class per term."""

from dynsel.selectors.terms.base import (
    Boundary,
    Loss,
    Material,
    NeuralWitness,
    Rarity,
    Region,
    Representativeness,
    Term,
    Uncertainty,
    Witness,
)

__all__ = [
    "Boundary",
    "Loss",
    "Material",
    "NeuralWitness",
    "Rarity",
    "Region",
    "Representativeness",
    "Term",
    "Uncertainty",
    "Witness",
]
