"""The map of the samples: where they lie, what is shown, and which usage it takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from support import Module, selection, train_loader, trainer

from dynsel.compare.report.atlas import embed, load_usage, map_figure


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
    assert [text.get_text() for text in by_class.get_legend().get_texts()] == ["a", "b", "c"]
    points = next(c for c in by_usage.collections if isinstance(c, PathCollection))
    # The most used are drawn last, and every point has its own place.
    np.testing.assert_array_equal(points.get_offsets()[-1], places[49])
    np.testing.assert_array_equal(points.get_array(), np.sort(usage))
    assert len(map_figure(places).axes) == 1
    assert not map_figure(places, np.arange(50)).axes[0].texts


def test_names_of_classes_in_one_place_do_not_lie_on_one_another() -> None:
    rng = np.random.default_rng(0)
    places, labels = rng.standard_normal((300, 2)), np.arange(300) % 10
    axes = map_figure(places, labels, [f"a class of name {i}" for i in range(10)]).axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert len(axes.get_legend().get_texts()) == 10, "the legend has those too for which there is no room"


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
