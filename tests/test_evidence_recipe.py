"""recipes/evidence.sh: every comparison that it makes can be read, without training one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynsel.compare.entry import parse_entry
from dynsel.schedules import as_keep_ratio

ROOT = Path(__file__).parents[1]
KEEP_RATIO = "--selection.keep_ratio"
SCRIPT = ROOT / "recipes/evidence.sh"
# Takes the place of Python: writes down what it was given.
LISTENER = """#!{python}
import json, sys
print(json.dumps(sys.argv[1:]), file=open({log!r}, "a"))
"""


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)


@pytest.fixture(scope="module")
def sections() -> list[str]:
    listed = run()
    assert listed.returncode == 2
    return listed.stdout.splitlines()[1].split()


@pytest.fixture(scope="module")
def calls(sections: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("evidence")
    python, log = folder / "python", folder / "calls.jsonl"
    python.write_text(LISTENER.format(python=sys.executable, log=str(log)))
    python.chmod(0o755)
    done = run("data", str(folder / "out"), *sections, PYTHON=str(python), FEATURES="features.npy")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_section_is_there(sections: list[str], calls: list[list[str]]) -> None:
    assert sections[0] == "budgets"
    assert len(sections) > 15
    kept = [call[call.index("--name") + 1] for call in calls if "--name" in call]
    assert len(kept) >= len(sections)


def test_selectors_and_configurations_are_known(calls: list[list[str]]) -> None:
    compared = [call for call in calls if call[:3] == ["-m", "dynsel", "compare"]]
    assert len(compared) > 15
    for call in compared:
        for i, word in enumerate(call):
            if word == "--config":
                assert (ROOT / call[i + 1]).is_file(), call[i + 1]
        start = call.index("--selectors") + 1
        names = []
        for word in call[start:]:
            if word.startswith("--"):
                break
            names.append(word)
        assert names
        for name in names:
            if not name.startswith("alignprune:trusted="):  # a file that the section makes
                parse_entry(name)


def test_keep_ratios_are_schedules_that_stay_in_range(calls: list[list[str]]) -> None:
    given = [json.loads(call[call.index(KEEP_RATIO) + 1]) for call in calls if KEEP_RATIO in call]
    assert given
    for schedule in given:
        module, _, name = schedule["class_path"].rpartition(".")
        as_keep_ratio(getattr(importlib.import_module(module), name)(**schedule["init_args"]))


@pytest.mark.parametrize("word", ["noise", "fast", "fast.4", "none", "budgets defaults", ""])
def test_a_part_of_a_section_is_none(word: str) -> None:
    refused = run("data", "out", word, PYTHON="false")
    assert refused.returncode == 2
    assert f"no section {word}; there are: budgets defaults" in refused.stdout


def test_what_is_wrong_is_said_before_the_first_section(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\n")
    python.chmod(0o755)
    for words in (("long-tail", "wrong"), ("long-tail", "gstds-small"), ("long-tail", "fast-coreset")):
        assert run("data", str(tmp_path / "out"), *words, PYTHON=str(python), FEATURES="").returncode == 2
    assert not (tmp_path / "begun").exists()


def test_python_is_found_from_where_the_script_is_called(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\n")
    python.chmod(0o755)
    command = ["bash", str(SCRIPT), "data", "out", "long-tail"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHON": "./python"}, check=True)
    assert (tmp_path / "begun").exists()


def test_what_is_missing_or_unknown_is_said() -> None:
    unknown = run("data", "out", "budget")
    assert unknown.returncode == 2
    assert "no section budget; there are: budgets defaults" in unknown.stdout
    missing = run("data", "out", "gstds", PYTHON="true", FEATURES="")
    assert "FEATURES: must name a file of features" in missing.stderr
