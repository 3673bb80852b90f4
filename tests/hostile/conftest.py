"""Small data of every kind, a small training, and a run of a command that says what it printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynsel.commands.main import main

CONFIG = """\
model: {class_path: hostile.training.Net}
data: {class_path: hostile.training.Data}
threads: 1
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features, labels, images in two classes, images without classes, and configurations."""
    folder = tmp_path_factory.mktemp("small")
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.save(folder / "f.npy", rows)
    np.savez(folder / "z.npz", features=rows, labels=np.arange(40) % 2)
    for name in ("photos/a", "photos/b", "flat"):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")
    (folder / "empty").mkdir()
    (folder / "subset.json").write_text('{"indices": [0, 1, 5, 30], "N": 40}')
    (folder / "c.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def here(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that sees the small data by links."""
    for path in small.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], str]]:
    """Runs a command: its exit code, the lines that say an error, and all that it printed."""
    threads = torch.get_num_threads()

    def run(*args: Any) -> tuple[int, list[str], str]:
        capfd.readouterr()
        try:
            code = main([str(one) for one in args])
        finally:
            torch.set_num_threads(threads)
        out, err = capfd.readouterr()
        return code, [line for line in err.splitlines() if line.startswith("dynsel: error: ")], out + err

    return run
