"""The summands of `Hybrid`: one small class per term, each of them a number in [0, 1] for every sample."""

from dynsel._lib.checks import import_by_path
from dynsel._lib.messages import suggest
from dynsel.selectors.terms.base import Material, Term
from dynsel.selectors.terms.batch_loss import BatchLoss
from dynsel.selectors.terms.boundary import Boundary
from dynsel.selectors.terms.doubt import Doubt
from dynsel.selectors.terms.loss import Loss
from dynsel.selectors.terms.margin import Margin
from dynsel.selectors.terms.neural_witness import NeuralWitness
from dynsel.selectors.terms.once import Once
from dynsel.selectors.terms.rarity import Rarity
from dynsel.selectors.terms.region import Region
from dynsel.selectors.terms.representativeness import Representativeness
from dynsel.selectors.terms.trajectory import Trajectory
from dynsel.selectors.terms.uncertainty import Uncertainty
from dynsel.selectors.terms.witness import Witness

__all__ = [
    "TERMS",
    "BatchLoss",
    "Boundary",
    "Doubt",
    "Loss",
    "Margin",
    "Material",
    "NeuralWitness",
    "Once",
    "Rarity",
    "Region",
    "Representativeness",
    "Term",
    "Trajectory",
    "Uncertainty",
    "Witness",
    "term_class",
]

TERMS: dict[str, type[Term]] = {
    "uncertainty": Uncertainty,
    "loss": Loss,
    "representativeness": Representativeness,
    "rarity": Rarity,
    "witness": Witness,
    "neural_witness": NeuralWitness,
    "boundary": Boundary,
    "region": Region,
    "batch_loss": BatchLoss,
    "doubt": Doubt,
    "margin": Margin,
    "trajectory": Trajectory,
    "once": Once,
}


def term_class(name: str) -> type[Term]:
    """The term of a short name or of a class path.

    Args:
        name: A key of `TERMS`, or the class path of a subclass of `Term`, as in "my_package.MyTerm".

    Raises:
        TypeError: If `name` is no text.
        ValueError: If there is none; names similar ones.
    """
    if name in TERMS:
        return TERMS[name]
    if not isinstance(name, str) or "." in name:
        found = import_by_path("terms", name)
        if not (isinstance(found, type) and issubclass(found, Term)):
            raise ValueError(f"`terms` must name subclasses of dynsel.selectors.terms.Term, {name!r} is none")
        return found
    raise ValueError(f"`terms` has the unknown term {name!r}{suggest(name.lower(), TERMS)} (your own: its class path)")
