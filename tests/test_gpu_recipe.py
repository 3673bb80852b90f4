"""recipes/gpu.sh works the first time: each part with next to no data, on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from dynsel.data.cifar10 import CLASSES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "recipes/gpu.sh"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training images and a test image of each class, of noise."""
    root = tmp_path_factory.mktemp("cifar10")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 4), ("test", 1)):
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(0, 256, (32, 32, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return root


def run(part: str, data: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    known = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "WORK": str(out.parent / "work"), "DYNSEL_COMMIT": "abc"}
    known["LIMIT"] = "4000"  # of a busy machine
    command = ["bash", str(SCRIPT), part, str(data), str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **known}, check=False)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", ["resnet18", "airbench94", "airbench96", "fast"])
def test_a_comparison_leaves_its_runs_and_a_file_for_the_records(part: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(part, data, out, "--seed", "7", "--tiny")
    assert done.returncode == 0, done.stderr[-3000:]
    names = {path.name for path in out.iterdir()}
    assert names == {"RECORDS.md", f"gpu-{part}-seed7.json", f"{part}-seed7.tar.gz"}
    with tarfile.open(out / f"{part}-seed7.tar.gz") as archive:
        runs = [name for name in archive.getnames() if "/runs/" in name and name.endswith(".json")]
    assert len(runs) == {"resnet18": 7, "airbench94": 3, "airbench96": 3, "fast": 4}[part]
    page = (out / "RECORDS.md").read_text()
    assert "commit: `abc`" in page
    assert "seed_everything 7" in page


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_other_parts_leave_what_they_print_and_the_distilled_set(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in ("ncfm-step", "taps", "ncfm"):
        done = run(part, data, out, "--tiny")
        assert done.returncode == 0, f"{part}: {done.stdout[-2000:]} {done.stderr[-3000:]}"
    assert "loop / ours" in (out / "ncfm-step.txt").read_text()
    assert "time / (keep x full time)" in (out / "taps.txt").read_text()
    assert "`distilled, convnet`" in (out / "RECORDS.md").read_text()
    assert len(list(out.iterdir())) <= 8


def test_it_is_a_script_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    for words, text in [(("nothing",), "unknown part nothing"), (("taps", "--huge"), "unknown option --huge")]:
        done = run(words[0], tmp_path, tmp_path / "out", *words[1:])
        assert done.returncode == 2
        assert text in done.stderr
