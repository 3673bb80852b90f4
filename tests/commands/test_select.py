"""`dynsel select`: the manifest it writes, and what it says of bad input."""

from __future__ import annotations

import hashlib
import json
import math
from argparse import ArgumentError
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dynsel.commands.main import main
from dynsel.commands.select import select
from dynsel.coreset import select_coreset

DIGITS = load_digits()
X = DIGITS.data[:400].astype(np.float32)
Y = DIGITS.target[:400]
LABELS = torch.from_numpy(Y)


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.savez("both.npz", train_features=X.astype(np.float16), train_labels=Y, test_features=X[:9], other=Y[:5])
    np.save("names.npy", np.array(DIGITS.target_names.astype(str))[Y])
    return tmp_path


def test_the_manifest(files, capsys):
    command = ["--selector", "fast:steps=10", "--keep_ratio", "0.1", "--features", "both.npz:train_features"]
    command += ["--labels", "both.npz:train_labels", "--out", "out/subset.json", "--seed", "4"]
    assert select(command) == 0
    said = json.loads((files / "out/subset.json").read_text())
    wanted = select_coreset("fast", X.astype(np.float16), LABELS, 0.1, 4, steps=10)
    assert said["indices"] == wanted.tolist()
    assert (said["N"], said["M"], said["keep_ratio"], said["selector"], said["seed"]) == (400, 40, 0.1, "fast", 4)
    assert said["arguments"]["steps"] == 10
    assert said["arguments"]["dim"] == 16
    assert said["arguments"]["class_balance"] is True
    digest = hashlib.sha256((files / "both.npz").read_bytes()).hexdigest()
    size = (files / "both.npz").stat().st_size
    assert said["features"] == {
        "path": "both.npz", "key": "train_features", "bytes": size, "sha256": digest, "d": 64, "dtype": "float16",
    }  # fmt: skip
    assert said["labels"]["key"] == "train_labels"
    assert [entry["of"] for entry in said["classes"]] == np.bincount(Y).tolist()
    assert [entry["kept"] for entry in said["classes"]] == np.bincount(Y[said["indices"]]).tolist()
    assert set(said["versions"]) > {"dynsel", "torch", "numpy"}
    assert said["report"]["cfd"]["coreset"] < said["report"]["cfd"]["random"]["mean"]
    assert said["seconds"] > 0
    assert [path.name for path in (files / "out").iterdir()] == ["subset.json"]
    out = capsys.readouterr().out
    assert "fast: 40 of 400 samples" in out
    assert "phase-decoupled CFD" in out


def test_names_as_labels_and_none(files):
    command = ["--selector", "random", "--keep_ratio", "0.2", "--features", "x.npy", "--out", "a.json"]
    assert select([*command, "--labels", "names.npy"]) == 0
    said = json.loads(Path("a.json").read_text())
    assert [entry["class"] for entry in said["classes"]] == list("0123456789")
    assert select(command) == 0
    said = json.loads(Path("a.json").read_text())
    assert (said["labels"], said["classes"], said["arguments"]["class_balance"]) == (None, None, False)


def test_a_manifest_is_replaced_whole_or_not_at_all(files, monkeypatch):
    command = ["--selector", "random", "--keep_ratio", "0.2", "--features", "x.npy", "--out", "a.json"]
    assert select(command) == 0
    before = Path("a.json").read_text()
    monkeypatch.setattr("dynsel.coreset.coreset_report", lambda *_: {"ratio": math.nan})
    with pytest.raises(ValueError, match="Out of range float values"):
        select(command)
    assert Path("a.json").read_text() == before


def test_help(capsys):
    assert main(["select", "--help"]) == 0
    assert "--selector SPEC" in capsys.readouterr().out


GOOD = {"--keep_ratio": "0.2", "--selector": "random", "--features": "x.npy", "--out": "a.json"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"--keep_ratio": None}, "the following arguments are required: --keep_ratio"),
        ({"--keep_ratio": "2"}, r"`keep_ratio` must be in \(0, 1\], got 2.0"),
        ({"--out": "subset"}, "`--out` must end in .json, got 'subset'"),
        ({"--selector": "random:seed"}, "'seed' must be argument=value"),
        ({"--labels": "both.npz"}, "both.npz has 4 arrays, so say which: 'both.npz:KEY'; its keys: "),
        ({"--labels": "both.npz:moon"}, "both.npz has no array 'moon'"),
        ({"--labels": "both.npz:other"}, r"`--labels` must have one entry per row .*, \(400,\), got \(5,\)"),
        ({"--selector": "moon"}, "unknown selector 'moon'"),
        ({"--features": "both.npz"}, "both.npz has 2 2-D floating-point arrays, so say which"),
    ],
)
def test_bad_commands(files, change, text):
    words = [word for key, value in {**GOOD, **change}.items() if value is not None for word in (key, value)]
    with pytest.raises((ValueError, ArgumentError), match=text):
        select(words)
    assert not Path("a.json").exists()


def test_missing_and_pickled_files(files):
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    for key, value, error, text in (
        ("--labels", "none.npy", FileNotFoundError, "there is no label file none.npy"),
        ("--features", "none.npy", FileNotFoundError, "there is no feature file none.npy"),
        ("--labels", "pickled.npy", ValueError, "pickled objects never are"),
        ("--features", "pickled.npy", ValueError, "pickled objects never are"),
    ):
        with pytest.raises(error, match=text):
            select([word for pair in {**GOOD, key: value}.items() for word in pair])


def test_a_path_with_brackets_is_printed_as_it_stands(files, capsys):
    command = ["select", "--selector", "random", "--keep_ratio", "0.2", "--features", "x.npy"]
    assert main([*command, "--out", "[bold]/[/x].json"]) == 0
    assert "; [bold]/[/x].json\n" in capsys.readouterr().out


def test_ctrl_c_ends_with_130(files, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dynsel.coreset.select_coreset", interrupt)
    assert main(["select", "--keep_ratio", "0.2", "--features", "x.npy", "--out", "a.json"]) == 130
    assert "dynsel: interrupted" in capsys.readouterr().err
    assert not Path("a.json").exists()
