"""Every example runs from an empty folder, says what it should, and stays short."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What each prints at its end.
SAYS = {
    "coreset": "180 of 1797 images",
    "hugging_face": "cross_entropy",
    "long_tail": "rcap: the five rare classes are",
    "own_data": "cross_entropy",
    "own_selector": "samples",
    "plain_loop": "1500 times a sample was trained on",
    "segmentation": "a faint square was trained on",
    "several_gpus": "600 samples on both ranks, in 30 steps",
    "text": "sentences were used",
    "wrong_labels": "hybrid:",
}


def test_every_example_is_known() -> None:
    assert {path.stem for path in EXAMPLES} == {*SAYS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != "several_gpus"], ids=lambda path: path.stem)
def test_an_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "from transformers " in path.read_text():
        pytest.importorskip("transformers", reason="transformers comes with the extra `kinds`")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert SAYS[path.stem] in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_the_example_for_several_processes_runs(tmp_path: Path) -> None:
    path = ROOT / "examples/several_gpus.py"
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert SAYS["several_gpus"] in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 62
    told = ast.get_docstring(ast.parse(text))
    assert told is not None
    assert len(told.splitlines()) >= 3


NOTEBOOK = ROOT / "examples/first_selection.ipynb"


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells in turn, in one namespace; what it displays is counted in place of being shown."""
    shown: list[object] = []
    display = ModuleType("IPython.display")
    vars(display).update(display=shown.append, clear_output=lambda wait: None, Image=len)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert len(shown) == 8 + 1, "a picture an epoch, and the images"
    assert "up to epoch 7" in capsys.readouterr().out


def test_the_notebook_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


@pytest.mark.long
def test_the_notebook_runs_in_jupyter() -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    nbclient.NotebookClient(nbformat.read(NOTEBOOK, as_version=4), timeout=600).execute()
