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
# Said unasked from this share of wrong labels among the suspected on: below it more of them are right than wrong.
_SAID = 0.5
_BINS = 200


@dataclass(frozen=True)
class Suspects:
    """Samples whose labels look wrong.

    Attributes:
        positions: (n,) int64, the most suspicious first.
        chance: (N,) float32 in [0, 1], the estimated share of wrong labels among the samples at least as suspicious as
            this one; NaN for who isn't suspected.
    """

    positions: Array
    chance: Array


def suspects(margin: Array) -> Suspects | None:
    """Labels that lose by more than the usual label wins.

    The usual label wins by the most frequent of the mean margins. A sample is suspected if another class has beaten its
    label by more than that.

    How many of the suspected are wrong is estimated by mirroring: about the most frequent one the margins of right
    labels are taken to lie alike to both sides, so that as many right labels are below a low margin as there are above
    the mirrored high one, where no wrong label is. In a training on selections, which goes on with what is hard, more
    lie below, and the estimate is a little too high. Where as many lie above as are suspected, nothing follows: all
    labels may be right, or margins go up without end, as those of what is far from the border do.

    Args:
        margin: (N,) float, mean margins; NaN = not told.

    Returns:
        Who is suspected; None where the usual label doesn't win, after a training so short that nothing can be told.

    Example:
        >>> margin = np.array([2.0, 2.5, 1.5, -4.0, np.nan, 0.1, -3.0, 2.2])
        >>> suspects(margin).positions.tolist()
        [3, 6]
    """
    known = margin[np.isfinite(margin)]
    usual = densest(known) if len(known) else 0.0
    if not usual > 0:
        return None
    with np.errstate(invalid="ignore"):
        positions = np.flatnonzero(margin < -usual)
    positions = positions[np.argsort(margin[positions], kind="stable")]
    return Suspects(positions, mirrored(margin, positions))


def suspects_in_words(evidence: Evidence) -> str:
    """How many labels look wrong, as in "12 of 400 labels look wrong, about 90 % of these are by estimate".

    Args:
        evidence: What the model said of the labels.

    Returns:
        The words, without a full stop; empty where nobody can be suspected, nobody is, or by estimate fewer than half
        of them are wrong.
    """
    if evidence.why_no_labels():
        return ""
    seen = evidence.seen.numpy()
    found = suspects(evidence.margin.numpy() / np.where(seen > 0, seen, np.nan))
    if found is None or not len(found.positions):
        return ""
    share = float(found.chance[found.positions[-1]])
    if share < _SAID:
        return ""
    many, all_ = f"{len(found.positions):,}", f"{len(seen):,}"
    return f"{many} of {all_} labels look wrong, about {100 * share:.0f} % of these are by estimate"


def mirrored(margin: Array, positions: Array) -> Array:
    """Share of wrong labels among the lowest margins, up to each of them.

    Args:
        margin: (N,) float, NaN = not told.
        positions: (n,) int64, samples of the lowest margins, ascending.

    Returns:
        (N,) float32 in [0, 1], falling over the positions; NaN elsewhere.

    Reference:
        Barber, Candès (2015), Controlling the false discovery rate via knockoffs, Annals of Statistics 43 (what lies
        on the other side stands for false findings).
    """
    ordered = np.sort(margin[np.isfinite(margin)])
    centre = densest(ordered)
    above = len(ordered) - np.searchsorted(ordered, 2 * centre - margin[positions], side="left")
    false = np.minimum(1.0, above / np.arange(1, len(positions) + 1))
    chance = np.full(len(margin), np.nan, dtype=np.float32)
    chance[positions] = 1 - np.maximum.accumulate(false)
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
