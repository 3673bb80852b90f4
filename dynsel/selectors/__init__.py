"""Selection methods, one per file.

A new one is a file, its import and a row of `SELECTORS` here, and a row of the README's table, which a test compares
with `SELECTORS` and with what each class says that it needs.
"""

from dynsel._lib.messages import suggest
from dynsel.selectors.alignprune import AlignPrune
from dynsel.selectors.aum import AUM
from dynsel.selectors.base import Selector
from dynsel.selectors.batch import BatchSelector, CandidateSelector
from dynsel.selectors.bls import BLS
from dynsel.selectors.ccs import CCS
from dynsel.selectors.checked import checked_selection
from dynsel.selectors.el2n import EL2N
from dynsel.selectors.epsilon_greedy import EpsilonGreedy
from dynsel.selectors.fast import FAST
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.forgetting import Forgetting
from dynsel.selectors.full import Full
from dynsel.selectors.geometry import Geometry
from dynsel.selectors.grand import GraNd
from dynsel.selectors.gstds import GSTDS
from dynsel.selectors.herding import Herding
from dynsel.selectors.hybrid import Hybrid
from dynsel.selectors.infobatch import InfoBatch
from dynsel.selectors.jest import JEST
from dynsel.selectors.kcenter import KCenter
from dynsel.selectors.loss import LossRank
from dynsel.selectors.orderdp import OrderDP
from dynsel.selectors.pfb import PFB
from dynsel.selectors.proxy import Proxy
from dynsel.selectors.random import Random
from dynsel.selectors.random_in_batch import RandomInBatch
from dynsel.selectors.rcap import RCAP
from dynsel.selectors.repb import RePB
from dynsel.selectors.rrd import RRD
from dynsel.selectors.score_selector import ScoreSelector
from dynsel.selectors.selective_backprop import SelectiveBackprop
from dynsel.selectors.ucb import UCB
from dynsel.selectors.ugies import UGIES

__all__ = [
    "AUM",
    "BLS",
    "CCS",
    "EL2N",
    "FAST",
    "GSTDS",
    "JEST",
    "PFB",
    "RCAP",
    "RRD",
    "SELECTORS",
    "UCB",
    "UGIES",
    "AlignPrune",
    "BatchSelector",
    "CandidateSelector",
    "EpsilonGreedy",
    "Feedback",
    "Forgetting",
    "Full",
    "Geometry",
    "GraNd",
    "Herding",
    "Hybrid",
    "InfoBatch",
    "KCenter",
    "LossRank",
    "OrderDP",
    "Proxy",
    "Random",
    "RandomInBatch",
    "RePB",
    "ScoreSelector",
    "SelectiveBackprop",
    "Selector",
    "checked_selection",
    "selector_class",
]

# By the short names that commands and YAML take.
SELECTORS: dict[str, type[Selector]] = {
    "alignprune": AlignPrune,
    "aum": AUM,
    "bls": BLS,
    "ccs": CCS,
    "el2n": EL2N,
    "epsilon-greedy": EpsilonGreedy,
    "fast": FAST,
    "forgetting": Forgetting,
    "full": Full,
    "geometry": Geometry,
    "grand": GraNd,
    "gstds": GSTDS,
    "herding": Herding,
    "hybrid": Hybrid,
    "infobatch": InfoBatch,
    "jest": JEST,
    "k-center": KCenter,
    "loss": LossRank,
    "orderdp": OrderDP,
    "pfb": PFB,
    "proxy": Proxy,
    "random": Random,
    "random-in-batch": RandomInBatch,
    "rcap": RCAP,
    "repb": RePB,
    "rrd": RRD,
    "selective-backprop": SelectiveBackprop,
    "ucb": UCB,
    "ugies": UGIES,
}


def selector_class(name: str) -> type[Selector]:
    """The selector of a short name.

    Args:
        name: A key of `SELECTORS`, such as "random" or "k-center".

    Raises:
        ValueError: If there is none; names similar ones.
    """
    if name not in SELECTORS:
        raise ValueError(f"unknown selector {name!r}{suggest(name.lower(), SELECTORS)}")
    return SELECTORS[name]
