"""What all pictures share: colours and markers of the selectors, sizes, plain axes.

Figures are drawn without pyplot: nothing global is changed, no display is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dynsel.compare.table import labels

__all__ = [
    "BLUE",
    "DPI",
    "ORANGE",
    "Array",
    "metric_label",
    "new_figure",
    "plain_axes",
    "plain_text",
    "selector_style",
    "shown_names",
]

DPI = 150
BLUE, ORANGE = "#0072B2", "#D55E00"
# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the yellow is too light for lines.
COLOURS = {"full": "#000000", "random": "#E69F00", "rrd": "#0072B2"}
FURTHER_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# Markers differ as well, for print in grey.
MARKERS = {"full": "s", "random": "o", "rrd": "^"}
FURTHER_MARKERS = ("D", "v", "P", "X", "<")
FURTHER_LINES = ("-", "--", ":")

Array = NDArray[Any]


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


def plain_text(text: str) -> str:
    """Text without what matplotlib takes for mathematics, and legends for a hidden entry.

    Args:
        text: Text of a user, such as the name of a selector.
    """
    return ("\u200b" if text.startswith("_") else "") + text.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, grid: str = "y") -> None:
    """A frame on two sides, and a light grid.

    Args:
        axes: Axes to be changed.
        grid: Axis whose values are read off: "x" or "y".
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if grid == "x" else "y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
