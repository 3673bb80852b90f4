"""Pictures of a selection: counts by hand, panels only of what is known, small and large numbers of uses."""

from __future__ import annotations

import numpy as np
import pytest

from dynsel.samplers.epoch_record import EpochRecord
from dynsel.samplers.pictures import BARS, selection_figure, uses_figure

HISTORY = [EpochRecord(0, 0.5, coverage=0.5), EpochRecord(1, 0.25, coverage=0.75)]


def test_one_bar_for_each_number_of_uses():
    axes = uses_figure(np.array([0, 0, 1, 3])).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2, 1, 0, 1]
    assert axes.get_title(loc="left") == "uses: never 50.0 %, most 3"


@pytest.mark.parametrize("usage", [np.zeros(3, int), np.arange(5000), np.zeros(0, int)])
def test_bars_are_few_whatever_the_uses(usage):
    figure = uses_figure(usage)
    bars = figure.axes[0].patches
    assert len(bars) <= BARS + 1
    assert sum(bar.get_height() for bar in bars) == len(usage)
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("history", "scores", "panels"),
    [([], None, 1), (HISTORY, None, 2), (HISTORY, np.full(3, np.nan), 2), (HISTORY, np.array([1.0, np.inf, 2.0]), 3)],
)
def test_panels_are_of_what_is_known(history, scores, panels):
    figure = selection_figure(np.array([1, 0, 2]), history, scores, title="t")
    assert len(figure.axes) == panels
    figure.canvas.draw()
    if history:
        coverage, ratio = figure.axes[1].lines
        assert coverage.get_ydata().tolist() == [0.5, 0.75]
        assert ratio.get_ydata().tolist() == [0.5, 0.25]
