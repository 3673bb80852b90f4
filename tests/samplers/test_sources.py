"""Where features and labels may come from is checked at construction, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynsel.callbacks import DynamicSelection
from dynsel.samplers import SelectionController

both = pytest.mark.parametrize("make", [DynamicSelection, SelectionController])


@both
@pytest.mark.parametrize(
    ("option", "value", "error", "said"),
    [
        ("features", 3, TypeError, r"`features` must be an \(N, d\) tensor or array, 'model', .*, got 3$"),
        ("features", [[1.0, 2.0]], TypeError, r"`features` must be an \(N, d\) tensor or array"),
        ("features", "modle", ValueError, "`features` must be .*, got 'modle'; did you mean 'model'"),
        ("features", "pixel", ValueError, "got 'pixel'; did you mean 'pixels'"),
        ("features", "f.csv", ValueError, r"or a path \(.npy, .npz, .npz:KEY, a folder\), got 'f.csv'"),
        ("features", "", ValueError, "`features` must be .*, got ''"),
        ("labels", "x", TypeError, "`labels` must be an array or a list, .* a text's letters are no labels"),
        ("labels", {"a": 1}, TypeError, "`labels` must be an array or a list"),
        ("labels", 3, TypeError, "`labels` must be an array or a list, one per sample and in their order, got 3"),
        ("labels", torch.zeros(4, 2), ValueError, r"`labels` must be \(N,\), one per sample, got shape \(4, 2\)"),
        ("labels", torch.tensor(1), ValueError, r"`labels` must be \(N,\), one per sample, got shape \(\)"),
    ],
)
def test_what_can_be_no_source_is_refused(
    make: Any, option: str, value: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make("random", **{option: value})


@both
@pytest.mark.parametrize(
    "source",
    [
        None,
        torch.zeros(4, 2),
        np.zeros((4, 2)),
        "model",
        "model:net.3",
        "pixels",
        "features.npy",
        "features.npz",
        "features.npz:train",
        "runs/store",
        Path("store"),
    ],
)
def test_forms_of_sources_need_no_file_yet(make: Any, source: Any) -> None:
    make("random", features=source, labels=("a", "b", "a", "b"))


def test_a_folder_that_is_there_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.chdir(tmp_path)
    SelectionController("random", features="store")


def test_a_long_list_is_not_written_out() -> None:
    with pytest.raises(TypeError, match="`features` must be an") as refused:
        DynamicSelection(features=[[0.5] * 50] * 2000)
    assert len(str(refused.value)) < 500
