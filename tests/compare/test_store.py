"""Finished runs on disk: kept to the last digit, and never mixed with those of other settings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from reports import record

from dynsel._lib.provenance import versions
from dynsel.compare import Store
from dynsel.compare.store import differences as differences_of
from dynsel.compare.store import file_name


def test_file_names_of_selectors() -> None:
    assert file_name("k-center") == "k-center"
    names = {file_name(spec) for spec in ("rrd:k=1", "rrd:k=2", "rrd:k_1", "rrd_k=1", "rrd_k_1")}
    assert len(names) == 5
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)


def test_store_keeps_runs(tmp_path: Path) -> None:
    store = Store(tmp_path, {"model": {"lr": 0.1}})
    assert store.load("rrd", 0) is None
    assert not list(tmp_path.iterdir()), "nothing is written before the first run"
    store.begin(10)
    store.save(record("rrd", 0, 0.5))
    again = Store(tmp_path, {"model": {"lr": 0.1}})
    assert again.steps == 10
    assert again.load("rrd", 0) == record("rrd", 0, 0.5)


def test_store_refuses_other_settings(tmp_path: Path) -> None:
    Store(tmp_path, {"model": {"lr": 0.1, "width": 4}}).begin(10)
    with pytest.raises(ValueError, match=r"model\.lr: 0\.1 there, 0\.2 now; model\.width: 4 there, None now"):
        Store(tmp_path, {"model": {"lr": 0.2}})


def test_differences_by_hand() -> None:
    there = {"lr": 0.1, "callbacks": [{"a": 1}, {"b": 2}], "sizes": [1, 2], "same": [3]}
    here = {"lr": 0.1, "callbacks": [{"a": 1}], "sizes": None, "same": [3], "new": True}
    said = "callbacks: [{'b': 2}] there, [] now; new: None there, True now; sizes: [1, 2] there, None now"
    assert differences_of(there, here) == said
    assert differences_of(there, here, shown=1) == "callbacks: [{'b': 2}] there, [] now; and 2 more"
    assert differences_of({"size": [32, 28]}, {"size": [28, 32]}) == "size: [32, 28] there, [28, 32] now"
    assert differences_of({"c": [{}, {"a": 1}]}, {"c": [{"a": 1}, {}]}) == "c: [{}, {'a': 1}] there, [{'a': 1}, {}] now"


def test_a_run_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "a", {"lr": 0.1}), Store(tmp_path / "b", {"lr": 0.2})
    one.save(record("rrd", 0, 0.5))
    (tmp_path / "b" / "runs").mkdir(parents=True)
    other.path("rrd", 0).write_bytes(one.path("rrd", 0).read_bytes())
    assert other.load("rrd", 0) is None


def test_numbers_survive_the_file_exactly(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    value = float(np.nextafter(0.1, 1))
    store.save(record("rrd", 0, value))
    loaded = store.load("rrd", 0)
    assert loaded is not None
    assert loaded.value == value


def test_a_selector_of_other_arguments_is_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, {})
    made_by = {"terms": {"uncertainty": 1.0}, "noise": 0.1, "trusted.npy": "abc", "gone": 3}
    for seed in (0, 1):
        store.save(record("hybrid", seed, 0.5, made_by=made_by))
    store.save(record("rrd", 0, 0.5))  # of a version that didn't say
    same = {"terms": {"uncertainty": 1}, "noise": 0.1, "trusted.npy": "abc", "new": 7}
    assert store.load("hybrid", 0, None, same) == record("hybrid", 0, 0.5, made_by=made_by)
    assert store.load("hybrid", 0) is not None, "nothing is asked for"
    assert store.load("rrd", 0, None, same) == record("rrd", 0, 0.5)
    assert capsys.readouterr().err == ""
    for other in ({"noise": 0.0}, {"terms": {"uncertainty": 1.0, "once": 1.0}}, {"trusted.npy": "abd"}):
        for seed in (0, 1):
            assert store.load("hybrid", seed, None, same | other) is None
    said = capsys.readouterr().err
    assert said == "runs of hybrid had other arguments (noise: 0.1 there, 0.0 now): they are trained again\n", "once"


def test_runs_of_another_version_are_kept_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, {})
    ours = ", ".join(f"{name} {number}" for name, number in versions().items())
    for seed, said in enumerate((ours, ours.replace("torch 2", "torch 1"), "torch 2.1", "")):
        store.save(record("rrd", seed, 0.5, origin={"versions": said} if said else {}))
        assert store.load("rrd", seed) is not None
    assert capsys.readouterr().err == ""
    for seed in (0, 1):
        store.save(record("old", seed, 0.5, origin={"versions": "dynsel 0.0.7, torch 2.1"}))
        assert store.load("old", seed) is not None
    assert capsys.readouterr().err.count("holds runs of dynsel 0.0.7, which are kept; another --out has those of") == 1


def test_of_two_that_begin_at_once_the_second_is_refused_if_it_has_other_settings(tmp_path: Path) -> None:
    first, same, other = (Store(tmp_path / "x", {"lr": lr}) for lr in (0.1, 0.1, 0.3))
    first.begin(10)
    same.begin(10)
    with pytest.raises(ValueError, match=r"holds runs of other settings .*lr: 0.1 there, 0.3 now"):
        other.begin(10)
    same.save(record("full", 0, 0.5))
    assert len(Store.stored(tmp_path / "x").finished()) == 1
