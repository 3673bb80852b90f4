"""Decoded arrays on disk: what is read again, and what is not trusted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.data import cache


def build() -> dict[str, np.ndarray]:
    return {"x": np.arange(3)}


def other() -> dict[str, np.ndarray]:
    return {"x": np.arange(3) + 7}


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


def test_the_same_source_is_read_again_and_another_one_built(tmp_path):
    cache.cached_arrays("x", {"root": "/a"}, [tmp_path], build)
    assert cache.cached_arrays("x", {"root": "/a"}, [tmp_path], other)["x"].tolist() == [0, 1, 2]
    assert cache.cached_arrays("x", {"root": "/b"}, [tmp_path], other)["x"].tolist() == [7, 8, 9]


def test_a_cache_of_another_source_under_this_name_is_noticed(tmp_path):
    cache.cached_arrays("x", {"root": "/a"}, [tmp_path / "a"], build)
    cache.cached_arrays("x", {"root": "/b"}, [tmp_path / "b"], build)
    (a,), (b,) = stored(tmp_path / "a"), stored(tmp_path / "b")
    b.write_bytes(a.read_bytes())
    assert cache.cached_arrays("x", {"root": "/b"}, [tmp_path / "b"], other)["x"].tolist() == [7, 8, 9]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_cache_of_another_user_is_not_used(tmp_path):
    cache.cached_arrays("x", {}, [tmp_path / "c"], build)
    (path,) = stored(tmp_path / "c")
    os.chown(path, 12345, 12345)
    with pytest.warns(UserWarning, match="belongs to another user than you and the data, and is not used"):
        assert cache.cached_arrays("x", {}, [tmp_path / "c"], other)["x"].tolist() == [7, 8, 9]


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_cache_is_built_anew(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("c")
    cache.cached_arrays("x", {}, [folder], build)
    (path,) = stored(folder)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes(whole))
    else:
        path.write_bytes(bytes(whole[:place]))
    assert cache.cached_arrays("x", {}, [folder], build)["x"].tolist() == [0, 1, 2]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(cache.np, "savez", full)
    with pytest.warns(UserWarning, match="could not write"):
        arrays = cache.cached_arrays("x", {}, [tmp_path / "a"], lambda: {"x": np.arange(3)})
    assert arrays["x"].tolist() == [0, 1, 2]
    assert not stored(tmp_path / "a")


def test_the_cache_never_unpickles(tmp_path):
    cache.cached_arrays("x", {}, [tmp_path], lambda: {"x": np.arange(3)})
    (path,) = stored(tmp_path)
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    assert cache.cached_arrays("x", {}, [tmp_path], lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
