"""The pictures: there, of the right size, not blank, and no text leaves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from reports import N, images, runs

from dynsel.compare import RunRecord
from dynsel.compare.report import (
    accuracy_figure,
    class_balance_figure,
    image_sheet,
    overlap_figure,
    ranking_figure,
    selector_style,
    time_figure,
    usage_figure,
    wrong_labels_figure,
)
from dynsel.data import TensorImages

MANY = ("full", "random", "rrd", *(f"selector_{i}" for i in range(15)), "my.package.of.mine.Selector", "$a_$b", "_mine")


@pytest.fixture(scope="module", name="images")
def _images() -> TensorImages:
    return images()


def fits_the_page(figure: Figure) -> bool:
    """Whether everything drawn, text above all, ends within the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return bool(drawn.x0 > -0.01 and drawn.y0 > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("selectors", "seeds", "metric"),
    [(MANY[15:], 1, "val_loss"), (("full", "rrd"), 3, "val_accuracy"), (MANY, 2, "$x")],
)
def test_all_text_is_on_the_page(selectors: tuple[str, ...], seeds: int, metric: str) -> None:
    records = runs(selectors, seeds, wrong_share=0.2)
    for figure in (
        ranking_figure(records, metric=metric),
        accuracy_figure(records, metric=metric),
        accuracy_figure(records, metric=metric, over="seconds"),
        time_figure(records),
        usage_figure(records),
        class_balance_figure(records),
        overlap_figure(records),
        wrong_labels_figure(records, 0.25),
    ):
        assert figure is not None
        assert fits_the_page(figure)


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


def test_four_seeds_have_a_band() -> None:
    axes = accuracy_figure(runs(("random",), 4)).axes[0]
    assert (len(axes.lines), len(axes.collections)) == (1, 1)
    assert "band: ± 1 sample standard deviation" in axes.get_title(loc="left")


def test_many_selectors_have_no_bands() -> None:
    figure = accuracy_figure(runs(MANY, 4))
    assert len(figure.axes[0].collections) == 0
    assert "band" not in figure.axes[0].get_title(loc="left")


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


def test_accuracy_over_seconds() -> None:
    line = accuracy_figure(runs(("random",), 3), over="seconds").axes[0].lines[0]
    assert np.asarray(line.get_xdata()) == pytest.approx([0.4 * i for i in range(1, 13)])


def test_one_seed_has_no_band() -> None:
    assert len(accuracy_figure(runs(("random",), 1)).axes[0].collections) == 0


def test_usage_shows_shares() -> None:
    records = runs(("full", "rrd"), 2)
    full, rrd = usage_figure(records).axes
    assert sum(patch.get_height() for patch in rrd.patches) == pytest.approx(1.0)
    tallest = max(full.patches, key=lambda patch: patch.get_height())
    assert tallest.get_height() == pytest.approx(1.0)
    assert tallest.get_x() + tallest.get_width() / 2 == pytest.approx(8)


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


def test_sheet_shows_most_and_least_used(images: TensorImages) -> None:
    usage = np.arange(N)
    figure = image_sheet(usage, images, title="rrd", columns=5, rows=1)
    most, least = figure.subfigs
    counts = [[int(axes.get_title().split("\n")[1].rstrip("×")) for axes in half.axes] for half in (most, least)]
    assert counts == [[59, 58, 57, 56, 55], [0, 1, 2, 3, 4]]
    assert most.axes[0].get_title().startswith("an unusuall…")
    assert least.axes[0].get_title().startswith("airplane")
    shown = np.asarray(least.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, images.images[0].permute(1, 2, 0).numpy())
    assert fits_the_page(figure)


def test_sheet_of_grey_normalized_images() -> None:
    class Data:
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.linspace(-2, 2, 16).view(1, 4, 4), 7

    figure = image_sheet(np.arange(4), Data(), columns=2, rows=1)
    shown = np.asarray(figure.subfigs[0].axes[0].images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 255)
    assert figure.subfigs[0].axes[0].get_title() == "7\n3×"


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


def test_a_selector_looks_the_same_everywhere() -> None:
    few, many = ["rrd", "zeta"], ["alpha", "full", "random", "rrd", "zeta"]
    assert selector_style("rrd", few) == selector_style("rrd", many)
    styles = [selector_style(name, many) for name in many]
    assert len({style["color"] for style in styles}) == len({style["marker"] for style in styles}) == len(many)
    assert len({tuple(selector_style(name, MANY).items()) for name in MANY}) == len(MANY)
