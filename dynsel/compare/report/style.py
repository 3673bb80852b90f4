"""What all pictures of a report share: colours and markers of the selectors, what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynsel._lib.figures import plain_text
from dynsel.compare.table import labels

__all__ = ["metric_label", "selector_style", "shown_names"]

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the yellow is too light for lines.
COLOURS = {"full": "#000000", "random": "#E69F00", "rrd": "#0072B2"}
FURTHER_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# Markers differ as well, for print in grey.
MARKERS = {"full": "s", "random": "o", "rrd": "^"}
FURTHER_MARKERS = ("D", "v", "P", "X", "<")
FURTHER_LINES = ("-", "--", ":")


def selector_style(selector: str, selectors: Sequence[str]) -> dict[str, Any]:
    """Colour, marker and line of a selector, the same in every picture; 60 differ besides the three known ones.

    Args:
        selector: Name of the selector.
        selectors: Names of all selectors of the comparison.

    Returns:
        Keyword arguments of matplotlib's `plot`.
    """
    if selector in COLOURS:
        return {"color": COLOURS[selector], "marker": MARKERS[selector], "linestyle": "-"}
    place = sorted({s for s in selectors if s not in COLOURS}).index(selector)
    # Four and five have no common factor: all pairs come up before one does again.
    return {
        "color": FURTHER_COLOURS[place % 4],
        "marker": FURTHER_MARKERS[place % 5],
        "linestyle": FURTHER_LINES[place // 4 % 3],
    }


def shown_names(selectors: Sequence[str]) -> dict[str, str]:
    """What pictures call each selector: the same as the tables do.

    Args:
        selectors: Names of all selectors of the comparison.
    """
    return {name: plain_text(short) for name, short in labels(list(selectors)).items()}


def metric_label(metric: str) -> str:
    """A metric in words.

    Args:
        metric: Name under which the metric is logged.
    """
    return {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}.get(metric, metric)
