"""Which labels look wrong, and how many of these are, by estimate on the run itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel.samplers.findings.evidence import Evidence

__all__ = ["Suspects", "densest", "mirrored", "suspects", "suspects_in_words"]

Array = NDArray[Any]

NOTICED = 0.05  # share of wrong labels among the suspected that an estimate can tell from none
# Said unasked from this estimate on: of CIFAR-10's own labels two thirds of the suspected were wrong by estimate.
_SAID = 0.75
_SAID_OF = 10  # suspected labels: of fewer nothing is said unasked, for some are suspected of any data
# A class counts as learned if the model says it for so many samples, as a share of those that have its label.
_LEARNED = 0.25
_BINS = 200


@dataclass(frozen=True)
class Suspects:
    """Samples whose labels look wrong.

    Attributes:
        positions: (n,) int64, the most suspicious first.
        chance: (N,) float32 in [0, 1], the estimated share of wrong labels among the samples at least as suspicious as
            this one; NaN for who isn't suspected.
        unlearned: Codes of the classes whose labels can't be judged, for the model hardly ever says them.
    """

    positions: Array
    chance: Array
    unlearned: list[int]


def suspects(margin: Array, given: Array, predicted: Array) -> Suspects | None:
    """Labels that lose by more than winning labels usually win.

    A label wins by the mean margin of its sample, where that is above 0; usual is the median. A sample is suspected if
    another class has beaten its label by more than that. Of a class that the model names for fewer than a quarter as
    many samples as have its label, as for a rare one in a short training, nobody is suspected: all its labels lose,
    right or wrong.

    How many of the suspected are wrong is estimated by mirroring: about the most frequent margin those of right labels
    are taken to lie alike to both sides, so that as many right labels are below a low margin as there are above the
    mirrored high one, where no wrong label is. In a training on selections, which goes on with what is hard, more lie
    below, and the estimate is too high. Where as many lie above as are suspected, nothing follows: all labels may be
    right, or margins go up without end, as those of what is far from the border do.

    Args:
        margin: (N,) float, mean margins; NaN = not told.
        given: (N,) int codes of the labels.
        predicted: (N,) int codes of what the model says.

    Returns:
        Who is suspected; None where no class was learned, after a training so short that nothing can be told.

    Example:
        >>> margin = np.array([2.0, 2.5, 1.5, -4.0, np.nan, 0.1, -3.0, 2.2])
        >>> given = np.array([0, 0, 0, 0, 0, 1, 1, 1])
        >>> suspects(margin, given, np.array([0, 0, 0, 1, 0, 1, 0, 1])).positions.tolist()
        [3, 6]
    """
    known = np.isfinite(margin)
    labelled = np.bincount(given[known])
    said = np.bincount(predicted[known], minlength=len(labelled))[: len(labelled)]
    learned = said >= _LEARNED * labelled
    judged = known.copy()
    judged[known] = learned[given[known]]
    with np.errstate(invalid="ignore"):
        wins = margin[judged & (margin > 0)]
        if not len(wins):
            return None
        positions = np.flatnonzero(judged & (margin < -np.median(wins)))
    positions = positions[np.argsort(margin[positions], kind="stable")]
    return Suspects(positions, mirrored(margin, positions), np.flatnonzero(~learned).tolist())


def suspects_in_words(evidence: Evidence) -> str:
    """How many labels look wrong, as in "12 of 400 labels look wrong, about 90 % of these are by a rough estimate".

    Args:
        evidence: What the model said of the labels.

    Returns:
        The words, without a full stop; empty where nobody can be suspected, fewer than ten are, or by estimate fewer
        than three quarters of them are wrong.
    """
    if evidence.why_no_labels():
        return ""
    found = suspects(evidence.mean_margin(), evidence.given.numpy(), evidence.predicted())
    if found is None or len(found.positions) < _SAID_OF:
        return ""
    share = float(found.chance[found.positions[-1]])
    if share < _SAID:
        return ""
    many, all_ = f"{len(found.positions):,}", f"{int((evidence.seen > 0).sum()):,}"
    return f"{many} of {all_} labels look wrong, about {100 * share:.0f} % of these are by a rough estimate"


def mirrored(margin: Array, positions: Array) -> Array:
    """Share of wrong labels among the lowest margins, up to each of them.

    Args:
        margin: (N,) float, NaN = not told.
        positions: (n,) int64, samples of the lowest margins, ascending.

    Returns:
        (N,) float32 in [0, 1], falling over the positions; NaN elsewhere.

    Reference:
        Barber, Candès (2015), Controlling the false discovery rate via knockoffs, Annals of Statistics 43 (what lies
        on the other side stands for false findings, and one more).
    """
    ordered = np.sort(margin[np.isfinite(margin)])
    centre = densest(ordered)
    above = len(ordered) - np.searchsorted(ordered, 2 * centre - margin[positions], side="left")
    # One more than were counted, as theirs: a handful of suspects would be all wrong where none lies above.
    false = np.minimum(1.0, (1 + above) / np.arange(1, len(positions) + 1))
    chance = np.full(len(margin), np.nan, dtype=np.float32)
    chance[positions] = 1 - np.minimum.accumulate(false[::-1])[::-1]
    return chance


def densest(numbers: Array) -> float:
    """Where numbers lie most densely, their density being smoothed over a twentieth of what 98 % of them span.

    Args:
        numbers: (n,) finite, at least one.

    Example:
        >>> round(densest(np.array([-9.0, 0.0, 0.9, 1.0, 1.1, 1.2, 4.0])), 1)
        1.0
    """
    low, high = np.percentile(numbers, (1, 99))
    if not high > low:
        return float(low)
    counts, edges = np.histogram(numbers, bins=_BINS, range=(low, high))
    window = np.exp(-0.5 * (np.arange(-_BINS // 4, _BINS // 4 + 1) / (_BINS / 40)) ** 2)
    place = int(np.convolve(counts, window, mode="same").argmax())
    return float(edges[place] + edges[place + 1]) / 2
