"""All that is known of each sample, and the words and the picture of a selection."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from dynsel.samplers import SelectionController
from dynsel.samplers.frame import declared_paths
from dynsel.schedules import Linear


class Folder(TensorDataset):
    """Knows the files of its items, as an ImageFolder does."""

    def __init__(self, count: int = 12) -> None:
        super().__init__(torch.rand(count, 2), torch.arange(count) % 3)
        self.samples: list[Any] = [(f"{i % 3}/{i}.png", i % 3) for i in range(count)]


def trained(selector: Any = "loss", *, data: Any = None, epochs: int = 3, **options: Any) -> SelectionController:
    data = Folder() if data is None else data
    selection = SelectionController(selector, keep_ratio=0.5, max_epochs=epochs, seed=0, **options)
    loader = selection.wrap(DataLoader(data, 2, shuffle=True))
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for i, _ in enumerate(loader):
            selection.observe(i, per_sample_loss=selection.indices(i).float() / 10)
    selection.finish_epoch()
    return selection


def test_the_columns() -> None:
    selection = trained("hybrid", labels=[f"class {i % 3}" for i in range(12)])
    columns = selection.to_frame()
    assert list(columns) == ["index", "path", "label", "uses", "last_score", "mean_score", "last_loss"]
    assert columns["index"].tolist() == list(range(12))
    assert columns["path"][4] == "1/4.png"
    assert columns["label"][4] == "class 1"
    assert columns["uses"].tolist() == selection.selector.usage.tolist()
    assert np.isfinite(columns["last_score"]).all()
    assert np.isnan(columns["last_loss"]).all(), "this one goes by entropies"


def test_losses_are_the_last_ones() -> None:
    columns = trained("loss").to_frame()
    used = columns["uses"] > 0
    assert np.asarray(columns["last_loss"][used]) == pytest.approx(np.asarray(columns["index"][used]) / 10)
    assert np.isnan(columns["last_loss"][~used]).all()
    assert columns["label"].tolist() == [i % 3 for i in range(12)]


def test_numbers_are_those_of_the_data_set_where_a_part_is_sampled() -> None:
    columns = trained("random", data=Subset(Folder(), [5, 7, 9, 11])).to_frame()
    assert columns["path"].tolist() == ["2/5.png", "1/7.png", "0/9.png", "2/11.png"]
    assert columns["label"].tolist() == [2, 1, 0, 2]


def test_with_pandas_it_is_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas: Any = types.ModuleType("pandas")
    pandas.DataFrame = lambda columns: ("frame", sorted(columns))
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert trained("random").to_frame()[0] == "frame"


def test_paths_as_data_sets_tell_them() -> None:
    folder = Folder(3)
    assert declared_paths(folder) == ["0/0.png", "1/1.png", "2/2.png"]
    assert declared_paths(ConcatDataset([folder, Subset(folder, [2])])) == [*declared_paths(folder), "2/2.png"]  # type: ignore[misc]
    assert declared_paths(ConcatDataset([folder, TensorDataset(torch.rand(2))])) is None
    assert declared_paths(TensorDataset(torch.rand(2))) is None
    others: list[Any] = [(torch.rand(3), 0), (5, 0), ({"a": 1}, 0), ([1.0],), (), []]
    for item in others:  # something else under the name that an ImageFolder has for paths
        folder.samples = [item] * 3
        assert declared_paths(folder) is None
    folder.samples = [(Path("a/b.png"), 0)] * 3
    assert declared_paths(folder) == ["a/b.png"] * 3
    column: Any = type("Columns", (), {"column_names": ["image", "file"], "__getitem__": lambda self, key: [key, key]})
    assert declared_paths(column()) == ["file", "file"]


def test_before_there_is_a_loader() -> None:
    selection = SelectionController("random")
    for ask in (selection.to_frame, selection.plot):
        with pytest.raises(RuntimeError, match="no loader yet: call `wrap"):
            ask()


# -------------------------------------------------------------------- words and picture
def test_a_controller_says_what_it_is_and_how_far() -> None:
    selection = SelectionController("random", Linear(1.0, 0.5), seed=3)
    assert repr(selection) == "SelectionController(Random(), keep_ratio=Linear(start=1.0, end=0.5), seed=3)"
    selection.wrap(DataLoader(Folder(), 2))
    assert repr(selection).endswith("seed=3), 12 samples")
    done = trained("random", epochs=2)
    assert repr(done) == "SelectionController(Random(), keep_ratio=0.5, seed=0), 2 epochs, 100.0 % of 12 samples used"


def test_a_notebook_gets_a_table_and_a_picture() -> None:
    before = SelectionController("random")._repr_html_()
    assert "<table>" in before
    assert "<img" not in before
    after = trained("hybrid")._repr_html_()
    assert "<th" in after
    assert "&#x27;uncertainty&#x27;" in after
    assert 'src="data:image/png;base64,iVBOR' in after


@pytest.mark.parametrize(("selector", "panels"), [("hybrid", 3), ("full", 2)])
def test_the_picture_has_a_panel_for_what_is_known(selector: str, panels: int) -> None:
    selection = trained(selector)
    figure = selection.plot()
    assert len(figure.axes) == panels
    figure.canvas.draw()
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == 12
    assert figure.axes[1].lines[0].get_ydata().tolist() == [record.coverage for record in selection.history]
