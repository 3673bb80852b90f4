"""The commands `dynsel features extract|info|verify`, run in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynsel.commands.main import main
from dynsel.features import load_features, open_store

ROOT = Path(__file__).parents[2]
DIGITS = ("--data", "dynsel.data.DigitsDataModule")
NET = ("--extractor", "module", "--extractor.model", "dynsel.models.resnet.SmallCNN")
NET += ("--extractor.model.num_classes", "10", "--extractor.mean", "[0.5]", "--extractor.std", "[0.5]")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def extract(*options: str) -> int:
    return main(["features", "extract", "--accelerator", "cpu", *options])


def test_extract_info_verify(folder: Path, capsys: Any) -> None:
    assert extract(*DIGITS, "--extractor", "pixels", "--extractor.components", "8", "--out", "new/f.npy") == 0
    assert "f.npy: 1,347 x 8 float16" in capsys.readouterr().out
    assert main(["features", "info", "new"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "rows 1,347 x 8 float16, 0.0 MB",
        "blocks 1 of 4,096 rows",
        "extractor: name pixels",
        "data: length 1347",
    ):
        assert part in said
    assert main(["features", "verify", "new/f.npy", *DIGITS]) == 0
    assert "all 1 blocks are as they were written, and it is of this data set" in capsys.readouterr().out
    assert main(["features", "verify", "new/f.npy", *DIGITS, "--split", "val"]) == 2
    assert "computed for another data set than this one; they differ in: length" in capsys.readouterr().err


def test_verify_names_damaged_rows(folder: Path, capsys: Any) -> None:
    options = ("--extractor", "pixels", "--batch_size", "100", "--block_rows", "200", "--out", "f.npy")
    assert extract(*DIGITS, *options) == 0
    content = bytearray(Path("f.npy").read_bytes())
    content[-1] ^= 1
    Path("f.npy").write_bytes(content)
    capsys.readouterr()
    assert main(["features", "verify", "f.npy"]) == 1
    said = capsys.readouterr().out
    assert "rows 1200 to 1346 don't match their checksum" in said
    assert "1 of 7 blocks are damaged" in said
    assert main(["features", "info", "f.npy"]) == 2


def test_a_module_by_class_path_and_from_yaml(folder: Path, capsys: Any) -> None:
    # Its weights are random, but the same for the same seed.
    torch.manual_seed(0)
    assert extract(*DIGITS, *NET, "--split", "val", "--out", "f.npy", "--threads", "1") == 0
    assert open_store("f.npy").features.shape == (450, 32)
    assert extract(*DIGITS, *NET, "--split", "val", "--out", "f.npy", "--threads", "1") == 2
    assert "holds other features; they differ in: extractor's weights" in capsys.readouterr().err
    Path("job.yaml").write_text(
        "extractor:\n  class_path: dynsel.features.extractors.PixelPCA\n  init_args: {components: 4}\n"
        "data:\n  class_path: dynsel.data.DigitsDataModule\nout: g.npy\nsplit: val\n"
    )
    assert extract("--config", "job.yaml") == 0
    assert load_features("g.npy").shape == (450, 4)


def test_a_folder_of_images(folder: Path, capsys: Any) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"photos/{name}/{i}.png")
    Path("photos/dog/1.png").write_bytes(b"?")
    arguments = (
        "--data",
        "photos",
        "--extractor=torchvision",
        "--extractor.model=resnet18",
        "--extractor.weights=null",
    )
    assert extract(*arguments, "--out", "f.npy") == 2
    assert "item 4 (photos/dog/1.png) can't be read" in capsys.readouterr().err
    assert extract(*arguments, "--out", "f.npy", "--skip_unreadable") == 0
    assert "6 x 512 float16, 1 of them unreadable and masked" in capsys.readouterr().out
    assert open_store("f.npy").skipped == [4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["extract", *DIGITS, "--extractor", "torchvison", "--out", "f.npy"],
            "no extractor 'torchvison'; did you mean",
        ),
        (
            ["extract", "--data", "no/where", "--extractor", "pixels", "--out", "f.npy"],
            "there is no data folder no/where",
        ),
        (["extract", *DIGITS, "--extractor", "pixels", "--out", "f.bin"], "`--out` must end in .npy, got 'f.bin'"),
        (
            ["extract", *DIGITS, "--extractor", "pixels", "--out", "f.npy", "--split", "all"],
            "`split` must be one of train",
        ),
        (["extract", *DIGITS, "--extractor", "pixels"], "out"),
        (
            ["extract", "--data", ".", "--extractor", "pixels", "--out", "f.npy"],
            "Couldn't find any class folder in .: images must lie in a folder for each class, ./<class>/<image>; where",
        ),
        (["extrct"], "unknown command 'features extrct'; did you mean 'extract'?"),
        (["info", "f.npy"], "there is no feature file f.npy"),
        (["info"], "store"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, folder: Path, capsys: Any) -> None:
    assert main(["features", *arguments]) == 2
    assert said in capsys.readouterr().err


SLOW = """
import time, torch
from torch.utils.data import Dataset

class Slow(Dataset):
    def __len__(self): return 120
    def __getitem__(self, i):
        time.sleep(0.01)
        if i == 70: print("at 70", flush=True)
        return torch.full((4,), i / 120)

class Net(torch.nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
"""


def test_interrupted_and_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a process of its own, then the same command."""
    (folder / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(folder))
    options = ["--data", "slow.Slow", "--extractor", "module", "--extractor.model", "slow.Net"]
    options += ["--batch_size", "5", "--block_rows", "10", "--accelerator", "cpu"]
    # Whoever runs the tests in the background may have Ctrl-C ignored, and children inherit that.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from dynsel.commands.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "features", "extract", *options, "--out", "f.npy"]
    paths = os.pathsep.join([str(ROOT), str(folder)])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "at 70" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted; the same command goes on where it was" in output
    with pytest.raises(FileNotFoundError, match=r"f.npy is not finished: [67] of 12 blocks are there"):
        load_features("f.npy")
    for name in ("f.npy", "alone.npy"):
        assert main(["features", "extract", *options, "--out", name]) == 0
    assert Path("f.npy").read_bytes() == Path("alone.npy").read_bytes()


def test_help(capsys: Any) -> None:
    assert main(["features"]) == 2
    assert main(["features", "--help"]) == 0
    assert "dynsel features extract --data photos/" in capsys.readouterr().out
    assert main(["features", "extract", "--help"]) == 0
    assert "--extractor NAME     minilm, module, open-clip, pixels, text, torchvision" in capsys.readouterr().out
    assert main(["features", "verify", "--help"]) == 0
