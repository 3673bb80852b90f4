"""Damaged files of a comparison: read as they were, trained again, or refused in one line that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hostile.values import inputs
from hypothesis import given
from hypothesis import strategies as st

from dynsel.compare.record import CurvePoint, RunRecord
from dynsel.compare.store import Store

SETTINGS = {"model": {"lr": 0.1}, "metric": "val_accuracy"}
RUN = RunRecord("random", 0, 0.9, 0.3, 100, 10, 1.5, curve=[CurvePoint(10, 100, 1.5, 0.9)], usage=[1, 0, 2])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    store = Store(folder, SETTINGS)
    store.begin(10)
    store.save(RUN)
    return folder


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Empty, cut, with a bit flipped, of something else, or of another version."""
    kind = data.draw(st.sampled_from(["empty", "cut", "flip", "other", "version"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        bit = 1 << data.draw(st.integers(0, 7))
        return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    if kind == "other":
        return data.draw(st.sampled_from([b"[]", b"null", b"3", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000]))
    if kind == "version":
        stored = json.loads(content)
        key = data.draw(st.sampled_from(sorted(stored)))
        value = data.draw(st.sampled_from([None, "x", [], {}, -1, True]))
        return json.dumps({**stored, key: value} if data.draw(st.booleans()) else {**stored, f"{key}s": 1}).encode()
    return b""


@inputs(150)
@given(data=st.data())
def test_a_damaged_run_is_trained_again(
    kept: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("copy") / "c"
    shutil.copytree(kept, folder)
    path = next((folder / "runs").iterdir())
    path.write_bytes(damaged(path.read_bytes(), data))
    store = Store(folder, SETTINGS)
    found = store.load("random", 0)
    assert found is None or isinstance(found.value, float | int)
    store.lengths()
    store.save(RUN)
    assert store.load("random", 0) == RUN


@inputs(150)
@given(data=st.data())
def test_damaged_settings_are_named(kept: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("copy") / "c"
    shutil.copytree(kept, folder)
    path = folder / "settings.json"
    path.write_bytes(damaged(path.read_bytes(), data))
    try:
        store = Store(folder, SETTINGS)
    except ValueError as error:
        text = str(error)
    else:
        assert store.load("random", 0) in (None, RUN)
        return
    assert str(folder) in text
    assert "\n" not in text


def test_what_is_said_of_a_damaged_run(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "c"
    shutil.copytree(kept, folder)
    path = next((folder / "runs").iterdir())
    path.write_text("")
    store = Store(folder, SETTINGS)
    assert store.load("random", 0) is None
    assert store.load("random", 0) is None
    assert capsys.readouterr().err == f"{path} is damaged, or of another version: a comparison trains this run again\n"
