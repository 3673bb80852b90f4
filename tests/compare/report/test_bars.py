"""Bars: rankings, usage, time, wrong labels, overlap."""

from __future__ import annotations

import numpy as np
import pytest
from reports import runs

from dynsel.compare import RunRecord
from dynsel.compare.report import (
    overlap_figure,
    ranking_figure,
    selector_style,
    time_figure,
    usage_figure,
    wrong_labels_figure,
)


def result(selector: str, seed: int, value: float) -> RunRecord:
    return RunRecord(selector, seed, value=value)


def test_ranking_by_hand() -> None:
    records = [result("random", i, v) for i, v in enumerate((0.5, 0.6, 0.7))]
    records += [result("rrd", i, v) for i, v in enumerate((0.8, 0.9, 0.7))] + [result("full", 0, 0.1)]
    axes = ranking_figure(records).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["rrd", "random", "full"]
    interval, mean, dots, *_ = axes.lines
    # Student's t of two degrees of freedom, 97.5 %: 4.3027; standard deviation 0.1.
    half = 4.3027 * 0.1 / 3**0.5
    assert np.asarray(interval.get_xdata()) == pytest.approx([0.8 - half, 1.0], rel=1e-4), "no share above 1"
    assert float(np.asarray(mean.get_xdata())[0]) == pytest.approx(0.8)
    assert np.asarray(dots.get_xdata()).tolist() == [0.8, 0.9, 0.7]
    broken = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_linestyle() == "--"]
    assert broken == pytest.approx([0.6, 0.1]), "random and full"
    top = ranking_figure(records, metric="val_loss").axes[0].get_yticklabels()[0]
    assert top.get_text() == "full", "a lower loss is better"


def test_a_ranking_of_two_seeds_is_about_the_seeds() -> None:
    records = [result("rrd", i, v) for i, v in enumerate((0.90, 0.92))] + [result("mine", 0, 1.0)]
    axes = ranking_figure(records).axes[0]
    # As much room as the dots take, and no share above 1.
    assert axes.get_xlim() == pytest.approx((0.80, 1.0))
    interval = next(line for line in axes.lines if line.get_color() == selector_style("rrd", ["rrd"])["color"])
    # Student's t of one degree of freedom is 12.7: 0.91 ± 0.127.
    assert np.asarray(interval.get_xdata()) == pytest.approx([0.80, 1.0])
    arrows = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_marker() == "<"]
    assert arrows == pytest.approx([0.80])
    assert not [line for line in axes.lines if line.get_marker() == ">"], "it ends at 100 %, and doesn't go on"


def test_usage_shows_shares() -> None:
    records = runs(("full", "rrd"), 2)
    full, rrd = usage_figure(records).axes
    assert sum(patch.get_height() for patch in rrd.patches) == pytest.approx(1.0)
    tallest = max(full.patches, key=lambda patch: patch.get_height())
    assert tallest.get_height() == pytest.approx(1.0)
    assert tallest.get_x() + tallest.get_width() / 2 == pytest.approx(8)


@pytest.mark.parametrize("top", [0, 59, 60, 61, 119, 200, 1001])
def test_no_use_is_beyond_the_bars(top: int) -> None:
    usage = [0, top // 2, top, top]
    bars = usage_figure([RunRecord("rrd", 0, usage=usage)]).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1.0)
    assert bars[-1].get_height() >= 0.5, "the most used samples are in the last bar"
    assert len(bars) <= 60


def test_time_bars_add_up_to_the_run() -> None:
    axes = time_figure(runs(("full", "rrd"), 2)).axes[0]
    widths = [[patch.get_width() for patch in bars] for bars in axes.containers]
    # 5 s, of which 1 s selection, of which 0.25 s fitting; 0.5 s waiting.
    assert widths == [[3.5, 3.5], [0.5, 0.5], [0.75, 0.75], [0.25, 0.25]]


def test_wrong_labels_are_shown_where_they_are_known() -> None:
    assert wrong_labels_figure(runs()) is None
    records = runs(("full", "rrd"), 2, wrong_share=0.125)
    figure = wrong_labels_figure(records, 0.2)
    assert figure is not None
    assert [patch.get_width() for patch in figure.axes[0].patches] == [0.125, 0.125]
    assert figure.legends[0].get_texts()[0].get_text() == "share in the data set"


def test_overlap_says_its_numbers() -> None:
    figure = overlap_figure(runs(("full", "random"), 1))
    assert figure is not None
    # One seed can't be compared with another one.
    assert [text.get_text() for text in figure.axes[0].texts] == ["–", "100", "100", "–"]
    assert "diagonal" not in figure.axes[0].get_title(loc="left")
    assert overlap_figure(runs(("full",), 1)) is None


def test_overlap_has_the_same_colours_everywhere() -> None:
    figure = overlap_figure(runs(("full", "rrd"), 2))
    assert figure is not None
    assert figure.axes[0].images[0].get_clim() == (0.0, 1.0)
    assert "diagonal: between seeds of one selector" in figure.axes[0].get_title(loc="left")
