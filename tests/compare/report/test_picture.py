"""Where the images of a picture stand."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from dynsel.compare.report.picture import drawn


def test_images_lie_where_the_links_are() -> None:
    figure = Figure(figsize=(4, 3), layout="constrained")
    panels = figure.subfigures(2, 1)[1].subplots(1, 2)
    for name, level, axes in zip(("7", "7-again"), (0.25, 0.75), panels, strict=True):
        axes.set_axis_off()
        axes.imshow(np.full((3, 3), level), vmin=0, vmax=1, cmap="gray")
        axes.set_gid(name)
    rows = [{"index": 7, "uses": 3}, {"index": 7, "anchor": "7-again", "uses": 4}]
    picture = drawn("two", "two greys", "", "", figure, "", rows)
    assert picture.heading == "Two greys"
    image = imread(io.BytesIO(picture.png))
    assert [(place.anchor, place.index, place.facts) for place in picture.places] == [
        ("7", 7, {"uses": "3"}),
        ("7-again", 7, {"uses": "4"}),
    ]
    for place, level in zip(picture.places, (0.25, 0.75), strict=True):
        row = int((place.y + place.height / 2) * image.shape[0])
        column = int((place.x + place.width / 2) * image.shape[1])
        assert image[row, column, 0] == pytest.approx(level, abs=0.01)
