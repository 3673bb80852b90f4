"""The pictures: there, of the right size, not blank, and no text leaves them."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from dynsel.compare import RunRecord
from dynsel.compare.record import CurvePoint
from dynsel.data import TensorImages
from dynsel.report import (
    accuracy_figure,
    class_balance_figure,
    image_sheet,
    selector_style,
    usage_figure,
    write_report,
)

N = 60


def runs(selectors: tuple[str, ...] = ("full", "random", "rrd"), seeds: int = 3) -> list[RunRecord]:
    rng = np.random.default_rng(0)
    records = []
    for place, name in enumerate(selectors):
        for seed in range(seeds):
            values = 0.9 - 0.6 * np.exp(-np.arange(1, 13) / 3) + rng.normal(0, 0.01, 12)
            curve = [CurvePoint(10 * i, 600 * i, float(i), float(v)) for i, v in enumerate(values, start=1)]
            usage = rng.poisson(8, N) if name == "rrd" else np.full(N, 8 + place)
            balance = (1 - np.abs(rng.normal(0, 0.02, 6))).tolist()
            last = float(values[-1])
            records.append(RunRecord(name, seed, last, 0.3, 7200, 120, 5.0, 1.0, curve, balance, usage.tolist()))
    return records


@pytest.fixture(scope="module")
def images() -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (N, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return TensorImages(pixels, torch.arange(N) % 3, ["airplane", "automobile", "an unusually long name"])


def fits_the_page(figure: Figure) -> bool:
    """Whether everything drawn, text above all, ends within the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return bool(drawn.x0 > -0.01 and drawn.y0 > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01)


def test_files(tmp_path: Path, images: TensorImages) -> None:
    before = dict(mpl.rcParams)
    paths = write_report(runs(), tmp_path / "pictures", dataset=images)
    # Full and random use all samples alike: there is no most used one to show.
    assert [path.name for path in paths] == ["accuracy.png", "usage.png", "class_balance.png", "images-rrd.png"]
    widths = {"images-rrd.png": 1500}
    for path in paths:
        picture = imread(path)
        assert picture.shape[1] == widths.get(path.name, 1125)
        assert picture.shape[0] >= 500
        assert picture[..., :3].var() > 0.005
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("seeds", "metric"), [(1, "val_loss"), (3, "val_accuracy")])
def test_all_text_is_on_the_page(seeds: int, metric: str) -> None:
    records = runs(("full", "random", "rrd", "my.package.of.mine.Selector"), seeds)
    for figure in (accuracy_figure(records, metric=metric), usage_figure(records), class_balance_figure(records)):
        assert figure is not None
        assert fits_the_page(figure)


def test_accuracy_shows_mean_and_spread() -> None:
    records = runs(("random",), 3)
    axes = accuracy_figure(records).axes[0]
    line = axes.lines[0]
    wanted = np.mean([[point.value for point in run.curve] for run in records], axis=0)
    np.testing.assert_allclose(np.asarray(line.get_ydata()), wanted)
    assert np.asarray(line.get_xdata()).tolist() == [600 * i for i in range(1, 13)]
    assert len(axes.collections) == 1
    assert f"{100 * wanted[-1]:.2f} %" in axes.get_legend().get_texts()[0].get_text()


def test_one_seed_has_no_band() -> None:
    assert len(accuracy_figure(runs(("random",), 1)).axes[0].collections) == 0


def test_usage_shows_shares() -> None:
    records = runs(("full", "rrd"), 2)
    full, rrd = usage_figure(records).axes
    assert sum(patch.get_height() for patch in rrd.patches) == pytest.approx(1.0)
    tallest = max(full.patches, key=lambda patch: patch.get_height())
    assert tallest.get_height() == pytest.approx(1.0)
    assert tallest.get_x() + tallest.get_width() / 2 == pytest.approx(8)


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
    np.testing.assert_allclose(shown, images.images[0].permute(1, 2, 0).numpy() / 255)
    assert fits_the_page(figure)


def test_sheet_of_grey_normalised_images() -> None:
    class Data:
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.linspace(-2, 2, 16).view(1, 4, 4), 7

    figure = image_sheet(np.arange(4), Data(), columns=2, rows=1)
    shown = np.asarray(figure.subfigs[0].axes[0].images[0].get_array())
    assert (shown.min(), shown.max()) == (0.0, 1.0)
    assert figure.subfigs[0].axes[0].get_title() == "7\n3×"


def test_items_that_are_no_images_make_no_sheet(tmp_path: Path) -> None:
    rows = torch.utils.data.TensorDataset(torch.zeros(N, 4), torch.zeros(N))
    assert "images-rrd.png" not in [path.name for path in write_report(runs(), tmp_path, dataset=rows)]


def test_no_runs_no_pictures(tmp_path: Path) -> None:
    assert write_report([], tmp_path) == []


def test_a_selector_looks_the_same_everywhere() -> None:
    few, many = ["rrd", "zeta"], ["alpha", "full", "random", "rrd", "zeta"]
    assert selector_style("rrd", few) == selector_style("rrd", many)
    styles = [selector_style(name, many) for name in many]
    assert len({style["color"] for style in styles}) == len({style["marker"] for style in styles}) == len(many)
