"""`dynsel select`: what it chooses, the manifest it writes, and what it says of bad input."""

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

from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, random_floor
from dynsel.commands.main import main
from dynsel.commands.select import select
from dynsel.coreset import coreset_report, offline_selectors, select_coreset
from dynsel.selectors import SELECTORS, KCenter
from dynsel.selectors.fast import FAST

DIGITS = load_digits()
X = DIGITS.data[:400].astype(np.float32)
Y = DIGITS.target[:400]
LABELS = torch.from_numpy(Y)


@pytest.fixture(autouse=True)
def fast_is_a_selector(monkeypatch):
    monkeypatch.setitem(SELECTORS, "fast", FAST)


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.savez("both.npz", train_features=X.astype(np.float16), train_labels=Y, test_features=X[:9], other=Y[:5])
    np.save("names.npy", np.array(DIGITS.target_names.astype(str))[Y])
    return tmp_path


# ---------------------------------------------------------------- choosing
@pytest.mark.parametrize("selector", ["fast", "herding", "k-center", "random", "rrd"])
def test_selectors_choose_the_share_asked_for(selector):
    options = {"sae_epochs": 2} if selector == "rrd" else {}
    assert selector in offline_selectors()
    chosen = select_coreset(selector, X, LABELS, keep_ratio=0.15, seed=1, **options)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == 60
    assert torch.bincount(LABELS[chosen]).tolist() == pytest.approx((torch.bincount(LABELS) * 0.15).tolist(), abs=1)


def test_it_is_what_the_selector_chooses():
    selector = KCenter(seed=0)
    selector.bind(400, LABELS)
    selector.fit(X)
    assert torch.equal(select_coreset("k-center", X, LABELS, 0.1), selector.select(0.0, 40).indices.sort().values)


def test_without_labels_all_samples_are_one_class():
    assert len(select_coreset("fast", torch.from_numpy(X), keep_ratio=0.1, steps=10)) == 40


def test_the_seed_decides():
    first, again, other = (select_coreset("random", X, None, 0.1, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ("hybrid", "hybrid chooses by logits, which only training gives; try fast or herding or k-c"),
        ("infobatch", "infobatch chooses by losses"),
        ("full", "full chooses no given number of samples"),
        ("gstds", "gstds chooses inside the batches of a training"),
        ("jest", "jest chooses inside the batches of a training"),
    ],
)
def test_selectors_that_need_training(selector, why):
    assert selector not in offline_selectors()
    with pytest.raises(ValueError, match=f"`selector` must choose without training; {why}"):
        select_coreset(selector, X)


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown selector 'fsat'; did you mean 'fast'"):
        select_coreset("fsat", X)
    with pytest.raises(TypeError, match="k-center has no argument `steps`; it has normalize, max_keep_ratio"):
        select_coreset("k-center", X, steps=3)
    with pytest.raises(ValueError, match=r"`keep_ratio` must be in \(0, 1\], got 10"):
        select_coreset("k-center", X, keep_ratio=10)


# ---------------------------------------------------------------- the report
def test_the_report_by_direct_computation():
    report = coreset_report(X, torch.arange(40), seed=3)
    generator = torch.Generator().manual_seed(3)
    t = gaussian_frequencies(1024, 64, median_scale(X, generator), generator)
    waves = np.exp(1j * X.astype(np.float64) @ t.double().numpy().T)
    distance = np.square(np.abs(waves[:40].mean(0) - waves.mean(0))).mean()
    assert report["cfd"]["coreset"] == pytest.approx(distance, rel=1e-4)
    floor = random_floor(characteristic_sums(X, t).value(), 40, 400)
    assert report["ratio"] == pytest.approx(distance / floor, rel=1e-4)
    random = report["cfd"]["random"]
    assert random["best"] < random["mean"]
    assert report["cfd"]["z"] == pytest.approx((distance - random["mean"]) / random["std"], rel=1e-3)
    assert random["mean"] == pytest.approx(floor, rel=0.2)


def test_random_subsets_of_the_report_are_class_balanced():
    """Where each class is one point, they all are exactly the whole set."""
    x = torch.nn.functional.one_hot(LABELS).float() * 3
    whole = torch.cat([(c == LABELS).nonzero()[:10, 0] for c in range(10)])
    report = coreset_report(x[whole], torch.arange(0, 100, 2), torch.arange(100) // 10)
    assert report["cfd"]["random"]["mean"] == pytest.approx(0, abs=1e-10)


def test_the_whole_set_is_at_no_distance():
    report = coreset_report(X, torch.arange(400), repeats=2)
    assert report["cfd"]["coreset"] == pytest.approx(0, abs=1e-10)
    assert report["ratio"] is None
    with pytest.raises(ValueError, match="`repeats` must be at least 2, got 1"):
        coreset_report(X, torch.arange(4), repeats=1)


# ---------------------------------------------------------------- the command
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
