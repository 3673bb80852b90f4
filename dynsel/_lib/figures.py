"""What all figures share: size, font, plain axes.

They are drawn without pyplot: nothing global is changed, no display is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = [
    "BARS",
    "BLUE",
    "DPI",
    "ORANGE",
    "SMALL",
    "TEXT",
    "WIDTH",
    "Array",
    "as_pixels",
    "count_edges",
    "new_figure",
    "plain_axes",
    "plain_text",
]

DPI = 150
# Every picture is as wide, in inches, and has letters of two sizes, in points, so that a page of them is one piece.
WIDTH, TEXT, SMALL = 7.5, 10, 9
# Okabe and Ito's, which people with any kind of colour vision tell apart.
BLUE, ORANGE = "#0072B2", "#D55E00"

Array = NDArray[Any]
BARS = 60  # of a histogram, at most about so many


def count_edges(top: int) -> Array:
    """Edges of the bars of a histogram of counts, one bar per count while these are few enough to see.

    Args:
        top: The largest count, which the last bar holds; at least 0.

    Example:
        >>> count_edges(2).tolist()
        [-0.5, 0.5, 1.5, 2.5]
    """
    width = max(1, -(-(top + 1) // BARS))
    return np.arange(-0.5, top + 0.5 + width, width)


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


def as_pixels(figure: Figure) -> Array:
    """A figure as an image.

    Args:
        figure: As `new_figure` makes them.

    Returns:
        (H, W, 3) uint8.
    """
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
