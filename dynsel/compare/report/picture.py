"""A picture of a page: the drawn figure, its numbers, and where single samples stand in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from dynsel._lib.figures import DPI

__all__ = ["Picture", "Place", "drawn"]


@dataclass(frozen=True)
class Place:
    """A sample in a picture.

    Attributes:
        anchor: Name of its row, one of its own in the picture.
        index: Index in the data set.
        facts: What is known of it, by heading.
        x: Left edge, as a share of the picture's width.
        y: Upper edge, as a share of its height, from the top.
        width: Width, as a share of the picture's.
        height: Height likewise.
    """

    anchor: str
    index: int
    facts: dict[str, str]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """A figure with what belongs to it.

    Attributes:
        name: Name of its files, without the ending.
        heading: Heading on the page; neighbouring pictures may share one.
        caption: How the picture is to be read.
        text: What the picture shows, for whoever can't see it.
        png: The figure as PNG, 150 dots per inch.
        csv: The numbers behind it as CSV.
        places: What the picture shows of single samples, in the order of their rows in the table below it.
    """

    name: str
    heading: str
    caption: str
    text: str
    png: bytes
    csv: str
    places: tuple[Place, ...] = ()


def drawn(
    name: str,
    heading: str,
    caption: str,
    text: str,
    figure: Figure,
    csv: str,
    rows: Sequence[dict[str, Any]] = (),
) -> Picture:
    """Draw a figure.

    Args:
        name: Name of its files, without the ending.
        heading: Heading on the page; its first letter becomes a capital.
        caption: How the picture is to be read.
        text: What the picture shows, for whoever can't see it.
        figure: Figure to draw; if it shows single samples, one of subfigures, and the axes of a sample have the name of
            its row as `gid`.
        csv: The numbers behind it as CSV.
        rows: Of each sample that it shows "index", perhaps "anchor", the name of its row if that isn't the index, and
            what is known of it.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    # Only now, for drawing gives the axes their places.
    boxes = {axes.get_gid(): axes.get_window_extent() for half in figure.subfigs for axes in half.axes}
    places = tuple(_place(row, boxes, figure.bbox) for row in rows)
    return Picture(name, heading[0].upper() + heading[1:], caption, text, stream.getvalue(), csv, places)


def _place(row: dict[str, Any], boxes: dict[Any, Any], whole: Any) -> Place:
    anchor = str(row.get("anchor", row["index"]))
    box = boxes[anchor]
    return Place(
        anchor,
        row["index"],
        {name: str(value) for name, value in row.items() if name not in ("anchor", "place", "index")},
        x=round(box.x0 / whole.width, 4),
        y=round(1 - box.y1 / whole.height, 4),
        width=round(box.width / whole.width, 4),
        height=round(box.height / whole.height, 4),
    )
