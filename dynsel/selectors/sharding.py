"""Which selectors can choose where each process has only its own shards of the samples, and why the others can't."""

from __future__ import annotations

from dynsel.selectors.base import Selector
from dynsel.selectors.hybrid import Hybrid

__all__ = ["check_fits_shards", "fits_shards"]

_GRAPH = "it needs the neighbours of every sample among all others"
_BATCHES = "it cuts batches, and which samples share one depends on the number of processes"
_COUNT = "how many samples it takes differs from process to process, and each must train on as many"
_MEAN = "it goes by the mean losses of batches, which depend on the number of processes"
_FACTORS = "its autoencoder is fitted to the features of all samples"
_NOT_YET = "it looks at all samples at once, and nobody has written it for shards yet"
# By class or term; what isn't named here and doesn't fit hasn't been written for shards.
_REASONS = {
    "FAST": "it matches subsets to the features and the neighbour graph of all samples",
    "Geometry": _GRAPH,
    "Boundary": _GRAPH,
    "Region": _GRAPH,
    "Herding": "its greedy order compares the features of all samples, one after the other",
    "KCenter": "its greedy order compares the features of all samples, one after the other",
    "Proxy": "its network trains on one process, on the whole stream of data",
    "GSTDS": _BATCHES,
    "RandomInBatch": _BATCHES,
    "SelectiveBackprop": _BATCHES,
    "JEST": _BATCHES,
    "PFB": _BATCHES,
    "InfoBatch": _COUNT,
    "Full": "its selection is everything; `Random` with keep_ratio=1.0 is the same training",
    "RePB": _MEAN,
    "BLS": _MEAN,
    "BatchLoss": _MEAN,
    "RRD": _FACTORS,
    "Representativeness": _FACTORS,
    "Rarity": _FACTORS,
    "UGIES": "its clusters are those of the features of all samples",
    "Witness": "it compares the features of all samples",
    "NeuralWitness": "it compares the features of all samples",
}
_INSTEAD = "Hybrid, LossRank, EpsilonGreedy, UCB, Random, EL2N, GraNd, AUM and Forgetting can"


def check_fits_shards(selector: Selector) -> None:
    """Refuse a selector that can't choose from its own shards.

    Args:
        selector: Selector whose class, and those of its terms, are asked.

    Raises:
        ValueError: If it can't; says why, and which can.
    """
    for part in _parts(selector):
        if not _says_so(part):
            name, reason = type(part).__name__, _REASONS.get(type(part).__name__, _NOT_YET)
            raise ValueError(
                f"`sharded`: {name} can't choose where each process has its own samples only: {reason}. {_INSTEAD}; a "
                "class of your own says `fits_shards = True` once it asks `self.population` what concerns all samples"
            )


def fits_shards(selector: Selector) -> bool:
    """Whether a selector, with all its terms, can choose from its own shards."""
    return all(map(_says_so, _parts(selector)))


def _parts(selector: Selector) -> list[object]:
    return [selector, *(selector.terms.values() if isinstance(selector, Hybrid) else ())]


def _says_so(part: object) -> bool:
    # Not inherited: what a subclass adds may look at all samples.
    return bool(vars(type(part)).get("fits_shards", False))
