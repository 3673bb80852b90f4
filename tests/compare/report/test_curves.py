"""Curves over training: means and spread of seeds, class balance."""

from __future__ import annotations

import numpy as np
import pytest
from reports import MANY, runs

from dynsel.compare import RunRecord
from dynsel.compare.report import (
    accuracy_figure,
    class_balance_figure,
)


def test_every_selector_is_in_the_legend() -> None:
    figure = accuracy_figure(runs(MANY, 1))
    assert len(figure.legends[0].get_texts()) == len(MANY)


def test_accuracy_shows_mean_and_spread() -> None:
    records = runs(("random",), 3)
    axes = accuracy_figure(records).axes[0]
    line = axes.lines[0]
    wanted = np.mean([[point.value for point in run.curve] for run in records], axis=0)
    np.testing.assert_allclose(np.asarray(line.get_ydata()), wanted)
    assert np.asarray(line.get_xdata()).tolist() == [600 * i for i in range(1, 13)]
    assert len(axes.collections) == 0, "three seeds are shown one by one"
    for seed, run in zip(axes.lines[1:], records, strict=True):
        assert np.asarray(seed.get_ydata()).tolist() == [point.value for point in run.curve]
    assert f"{100 * wanted[-1]:.2f} %" in axes.get_legend().get_texts()[0].get_text()


def test_four_seeds_have_bars_beside_one_another() -> None:
    records = runs(("full", "random", "rrd"), 4)
    axes = accuracy_figure(records).axes[0]
    assert (len(axes.lines), len(axes.collections)) == (3, 3)
    assert "bars: ± 1 sample standard deviation" in axes.get_title(loc="left")
    bars = [np.array(collection.get_segments()) for collection in axes.collections]  # (points, 2 ends, x and y)
    assert len({places[0] for places in (bar[:, 0, 0] for bar in bars)}) == 3, "each selector has its own place"
    last = [run.curve[-1].value for run in records if run.selector == "rrd"]
    assert np.ptp(bars[2][-1, :, 1]) == pytest.approx(2 * np.std(last, ddof=1))


def test_many_selectors_have_no_bars() -> None:
    figure = accuracy_figure(runs(MANY, 4))
    assert len(figure.axes[0].collections) == 0
    assert "bars" not in figure.axes[0].get_title(loc="left")


def test_accuracy_over_seconds() -> None:
    line = accuracy_figure(runs(("random",), 3), over="seconds").axes[0].lines[0]
    assert np.asarray(line.get_xdata()) == pytest.approx([0.4 * i for i in range(1, 13)])


def test_one_seed_has_no_bar() -> None:
    assert len(accuracy_figure(runs(("random",), 1)).axes[0].collections) == 0


def test_class_balance_ends_with_training() -> None:
    records = [RunRecord("full", 0, class_balance=[1.0] * 4), RunRecord("rrd", 0, class_balance=[0.9] * 8)]
    figure = class_balance_figure(records)
    assert figure is not None
    full, rrd = (np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines)
    assert full == [0.25, 0.5, 0.75, 1.0]
    assert rrd[1::2] == full, "two epochs of a half take as long as one of all"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["full (4 epochs)", "rrd (8 epochs)"]


def test_class_balance_needs_labels() -> None:
    assert class_balance_figure([RunRecord("random", 0)]) is None
