"""The commands `dynsel sae fit|info` and `dynsel features atlas`, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from dynsel.commands.main import main
from dynsel.features import StoreWriter, load_features
from dynsel.sae import encode, load_codes, load_sae

FEW = ("--rows", "2", "--columns", "5")
SMALL = ("--num_factors", "32", "--k", "4", "--epochs", "3", "--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data = ("--data", "dynsel.data.DigitsDataModule", "--extractor", "pixels", "--extractor.components", "16")
    assert main(["features", "extract", *data, "--out", "f.npy", "--accelerator", "cpu"]) == 0
    return tmp_path


def test_fit_writes_autoencoder_facts_codes_and_plot(folder: Path, capsys: Any) -> None:
    assert (
        main(
            [
                "sae",
                "fit",
                "--features",
                "f.npy",
                *SMALL,
                "--out",
                "new/s.safetensors",
                "--codes",
                "c/codes.json",
                "--plot",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "new/s.safetensors: 32 factors, k = 4, fraction of variance unexplained" in said
    assert sorted(p.name for p in Path("new").iterdir()) == ["s.json", "s.png", "s.safetensors"]
    sae, features = load_sae("new/s.safetensors"), load_features("f.npy")
    expected = encode(sae, features)
    codes = load_codes("c/codes.json")
    assert torch.equal(codes.indices, expected.indices)
    facts = json.loads(Path("new/s.json").read_text())
    assert (facts["dim"], facts["num_factors"], facts["k"], facts["rows"]) == (16, 32, 4, 1347)
    rest = torch.from_numpy(features.astype(np.float32))
    rest = rest - sae.decode(*sae.encode(rest))
    spread = features.astype(np.float64) - features.astype(np.float64).mean(0)
    assert facts["fvu"] == pytest.approx(float(rest.square().sum()) / np.square(spread).sum(), rel=1e-3)
    assert facts["dead_share"] == pytest.approx(float((expected.frequency() == 0).double().mean()))
    assert imread("new/s.png").shape[:2] == (600, 1125)
    assert main(["sae", "info", "new/s.safetensors"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("num_factors 32", f"fvu {facts['fvu']}", "seed 0", "command dynsel sae fit --features f.npy"):
        assert part in said


def test_unreadable_rows_are_left_out(folder: Path) -> None:
    features = np.array(load_features("f.npy"))
    features[::2] = 0
    StoreWriter.begin("g.npy", {"N": 1347, "d": 16, "dtype": "float16", "block_rows": 1347})
    StoreWriter("g.npy").write(0, features, list(range(0, 1347, 2)))
    StoreWriter("g.npy").finish()
    np.save("h.npy", features[1::2])
    with pytest.warns(UserWarning, match=r"are zeros, for the items couldn't be read"):
        assert main(["sae", "fit", "--features", "g.npy", *SMALL, "--batch_size", "64", "--out", "g.safetensors"]) == 0
    assert main(["sae", "fit", "--features", "h.npy", *SMALL, "--batch_size", "64", "--out", "h.safetensors"]) == 0
    torch.testing.assert_close(load_sae("g.safetensors").mean, load_sae("h.safetensors").mean)
    fvu = [json.loads(Path(f"{name}.json").read_text())["fvu"] for name in "gh"]
    assert fvu[0] == pytest.approx(fvu[1], rel=0.15)


def test_atlas(folder: Path, capsys: Any) -> None:
    usage = np.arange(1347) % 5
    np.save("usage.npy", usage)
    assert main(["sae", "fit", "--features", "f.npy", *SMALL, "--out", "s.safetensors"]) == 0
    arguments = ("features", "atlas", "--features", "f.npy", "--data", "dynsel.data.DigitsDataModule", "--out", "atlas")
    assert (
        main([*arguments, "--sae", "s.safetensors", "--usage", "usage.npy", "--points", "200", "--map", "pca", *FEW])
        == 0
    )
    assert "atlas/factors.png, atlas/map.png, atlas/atlas.html" in capsys.readouterr().out
    assert imread("atlas/map.png").shape[1] == 1860  # two panels
    assert imread("atlas/factors.png").std() > 0.1
    assert main([*arguments, "--split", "val", "--sae", "s.safetensors"]) == 2
    assert "features have 1347 rows but the data set has 450 samples" in capsys.readouterr().err
    assert main([*arguments, "--sae", "s.safetensors", "--map", "umap"]) == 2
    assert "`map`: Expected a typing.Literal['tsne', 'pca']. Got value: umap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "--features", "f.npy", "--out", "s.bin"], "`--out` must end in .safetensors, got 's.bin'"),
        (["fit", "--features", "f.npy", "--out", "s.safetensors", "--codes", "c.npy"], "`--codes` must end in .json"),
        (
            ["fit", "--features", "f.npy", "--out", "s.safetensors", "--codes", "s.json"],
            "must be another file than s.json",
        ),
        (["fit", "--features", "none.npy", "--out", "s.safetensors"], "there is no feature file none.npy"),
        (["fit", "--features", "f.npy", "--out", "s.safetensors", "--k", "0"], "`k` must be at least 1, got 0"),
        (["fit", "--out", "s.safetensors"], "--features"),
        (["info", "none.safetensors"], "there is no autoencoder none.safetensors"),
        (["info", "f.npy"], "f.npy is no safetensors file"),
        (["train"], "unknown command 'sae train'; there are fit, info"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, folder: Path, capsys: Any) -> None:
    assert main(["sae", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_help(capsys: Any) -> None:
    assert main(["sae"]) == 2
    assert main(["sae", "--help"]) == 0
    assert "dynsel sae fit --features clip.npy --out sae.safetensors --plot" in capsys.readouterr().out
    assert main(["sae", "fit", "--help"]) == 0
    assert "--precision" in capsys.readouterr().out


def test_a_lowered_k_is_told(folder: Path, capsys: Any) -> None:
    fit = ("sae", "fit", "--features", "f.npy", "--epochs", "1", "--device", "cpu", "--num_factors", "16")
    assert main([*fit, "--out", "s.safetensors"]) == 0
    assert "k lowered to 8: at most half of the factors\n" in capsys.readouterr().out
    assert main([*fit, "--k", "40", "--out", "s.safetensors"]) == 2
    assert "`--k` must be at most half of `--num_factors`, 8, got 40" in capsys.readouterr().err
    assert main([*fit, "--k", "8", "--out", "s.safetensors"]) == 0
    assert "lowered" not in capsys.readouterr().out
