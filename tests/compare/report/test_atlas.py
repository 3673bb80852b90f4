"""The pictures of features: what is shown in them, and which usage they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from support import Module, selection, train_loader, trainer

from dynsel.compare.report.atlas import embed, factor_figure, frequency_figure, load_usage, map_figure
from dynsel.sae import SparseCodes


class Shades:
    """Image i is grey level i; classes alternate."""

    classes = ("even", "odd")

    def __init__(self, n: int = 30) -> None:
        self.n, self.targets = n, [i % 2 for i in range(n)]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return torch.full((1, 4, 4), i, dtype=torch.uint8), self.targets[i]


def codes() -> SparseCodes:
    """Factor 0 on all, the more the later; 1 on every third, the more the earlier; 2 on four; 3 on one; 4 on none."""
    dense = torch.zeros(30, 5)
    dense[:, 0] = torch.arange(1.0, 31)
    dense[::3, 1] = torch.arange(10.0, 0, -1)
    dense[4:8, 2] = torch.tensor([1.0, 4, 2, 3])
    dense[9, 3] = 1
    values, indices = dense.topk(4, dim=1)
    return SparseCodes(indices, values, 5)


def shown(figure: Any) -> list[tuple[str, list[int]]]:
    """For each row of images: its text and the grey levels in it."""
    rows = []
    for half in figure.subfigs:
        for axes in half.axes:
            if axes.texts:
                rows.append((axes.texts[0].get_text(), []))
            for image in axes.get_images():
                rows[-1][1].append(int(np.asarray(image.get_array())[0, 0, 0]))
    return rows


def test_factors_by_the_images_that_activate_them_most() -> None:
    labels = np.array(Shades().targets)
    figure = factor_figure(codes(), Shades(), labels, ["even", "odd"], rows=1, columns=4)
    assert shown(figure) == [
        ("factor 0\n100 % of images\n50 % of them even", [29, 28, 27, 26]),
        ("factor 2\n13.3 % of images\n50 % of them even", [5, 7, 6, 4]),
    ]
    # Fewer factors than asked for: no factor in both halves.
    figure = factor_figure(codes(), Shades(), rows=8, columns=1)
    assert [text.split("\n")[0] for text, _ in shown(figure)] == ["factor 0", "factor 1", "factor 3", "factor 2"]
    assert shown(figure)[1][1] == [0]


def test_any_kind_of_image() -> None:
    class Normalized(Shades):
        def __getitem__(self, i: int) -> Any:
            return {"image": torch.linspace(-2, 2, 48).reshape(3, 4, 4)}

    assert len(shown(factor_figure(codes(), Normalized(), rows=1, columns=2))) == 2


def test_factors_refuse() -> None:
    with pytest.raises(ValueError, match="codes are of 30 samples, the data set has 20"):
        factor_figure(codes(), Shades(20))
    with pytest.raises(ValueError, match="fewer than two factors are active on 20 images or more"):
        factor_figure(codes(), Shades(), columns=20)


def test_frequencies_count_every_living_factor() -> None:
    frequency = torch.tensor([0.5, 0.25, 0.001, 0.0])
    figure = frequency_figure(frequency, fvu=0.0312)
    axes = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 3
    assert "4 factors, 25.0 % of them dead, fraction of variance unexplained 0.0312" in axes.get_title(loc="left")
    assert "median 25 %" in axes.texts[0].get_text()
    assert "100.0 % of them dead" in frequency_figure(torch.zeros(3)).axes[0].get_title(loc="left")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_keeps_neighbours(method: str) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 20) * 10, 40, axis=0)
    rows = np.arange(0, 120, 2)
    features = (centres + rng.standard_normal((120, 20))).astype(np.float16)
    places = embed(features, rows, method)
    assert places.shape == (60, 2)
    labels = np.repeat(np.arange(3), 20)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(60)
    assert (labels[distances.argmin(1)] == labels).mean() > 0.95
    np.testing.assert_array_equal(places, embed(features, rows, method))


def test_map_of_one_column_and_unknown_method() -> None:
    assert embed(np.arange(9.0)[:, None], np.arange(9), "pca").shape == (9, 2)
    with pytest.raises(ValueError, match="the map must be 'pca' or 'tsne', got 'umap'"):
        embed(np.zeros((3, 3)), np.arange(3), "umap")


def test_map_panels() -> None:
    places = np.random.default_rng(0).standard_normal((50, 2))
    labels, usage = np.arange(50) % 3, np.arange(50)
    figure = map_figure(places, labels, ["a", "b", "c"], usage, title="all")
    by_class, by_usage = figure.axes[:2]
    assert sorted(text.get_text() for text in by_class.texts) == ["a", "b", "c"]
    points = next(c for c in by_usage.collections if isinstance(c, PathCollection))
    # The most used are drawn last, and every point has its own place.
    np.testing.assert_array_equal(points.get_offsets()[-1], places[49])
    np.testing.assert_array_equal(points.get_array(), np.sort(usage))
    assert len(map_figure(places).axes) == 1
    assert not map_figure(places, np.arange(50)).axes[0].texts


def test_usage_of_a_checkpoint_a_run_and_an_array(tmp_path: Path) -> None:
    chosen = selection((12, 20))
    run = trainer(chosen, max_epochs=2)
    run.fit(Module(), train_loader())
    run.save_checkpoint(tmp_path / "run.ckpt")
    expected = chosen.selector.usage.numpy()
    assert expected.sum() == 32
    np.testing.assert_array_equal(load_usage(tmp_path / "run.ckpt", 40), expected)
    (tmp_path / "run.json").write_text(json.dumps({"selector": "rrd", "usage": expected.tolist()}))
    np.testing.assert_array_equal(load_usage(tmp_path / "run.json", 40), expected)
    np.save(tmp_path / "u.npy", expected)
    np.testing.assert_array_equal(load_usage(tmp_path / "u.npy", 40), expected)
    with pytest.raises(ValueError, match=r"u.npy holds the usage of 40 samples, the features have 41"):
        load_usage(tmp_path / "u.npy", 41)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run.json holds no `usage`: it is of no training with a selection"):
        load_usage(tmp_path / "run.json", 40)
    with pytest.raises(FileNotFoundError, match=r"there is no usage file .*nothing.npy"):
        load_usage(tmp_path / "nothing.npy", 40)
    (tmp_path / "u.txt").write_text("1")
    with pytest.raises(ValueError, match=r"usage must be a .ckpt, .json or .npy file, got 'u.txt'"):
        load_usage(tmp_path / "u.txt", 1)
