"""The picture of worths: the curve and the means by hand, and arrows to what lies beyond it."""

from __future__ import annotations

import pytest
from reports import fits_the_page

from dynsel.compare.report.worth import worth_data, worth_figure
from dynsel.compare.worth import LengthCurve, Worths, worth

CURVE = LengthCurve((0.5, 1.0, 2.0), ({0: 0.7, 1: 0.7}, {0: 0.8, 1: 0.8}, {0: 0.9, 1: 0.9}))
FOUND = Worths(
    CURVE, {"rrd": worth(CURVE, {0: 0.8, 1: 0.8}, cost=0.5), "best": worth(CURVE, {0: 0.99, 1: 0.99}, cost=1)}
)


def test_the_numbers_are_those_of_the_curve_and_the_means():
    rows = worth_data(FOUND, "val_accuracy")
    assert [(r["selector"], r["length"], r["val_accuracy"]) for r in rows[:2]] == [("full", 0.5, 0.7)] * 2
    assert len(rows) == 3 * 2 + 2
    assert rows[-2]["worth"] == pytest.approx(2.0)
    assert rows[-1]["worth"] == float("inf")


def test_the_picture_holds_them_all():
    figure = worth_figure(FOUND)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "full data"
    assert any(text.startswith("rrd: worth 2.00 ×") for text in texts)
    assert any(text.startswith("best: worth more than 2.00 ×") for text in texts)
    assert fits_the_page(figure)


def test_a_selector_has_one_colour_however_it_was_trained():
    one = worth(CURVE, {0: 0.8, 1: 0.8}, cost=0.5)
    names = [f"{name}:budget={budget}" for name in ("random", "hybrid") for budget in (0.5, 0.7)]
    figure = worth_figure(Worths(CURVE, dict.fromkeys(names, one)))
    marked = [line for line in figure.axes[0].lines if ": worth" in line.get_label()]
    points = {line.get_label().split(": worth")[0]: line for line in marked}
    looks = [(points[name].get_color(), points[name].get_marker()) for name in names]
    (random, first), (random_again, second), (hybrid, third), (hybrid_again, fourth) = looks
    assert random == random_again != hybrid == hybrid_again
    assert (first, second) == (third, fourth)
    assert first != second
