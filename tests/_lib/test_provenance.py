"""What a result says of its origin."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import dynsel
from dynsel._lib.provenance import (
    command_line,
    commit,
    hardware,
    origin,
    package_version,
    provenance,
    today,
    versions,
)


def test_a_command_can_be_typed_again() -> None:
    words = ["select", "--out", "my subset.json", "--selector", 'hybrid:terms={"loss":1}']
    assert shlex.split(command_line(words)) == ["dynsel", *words]


def test_versions_of_what_is_installed() -> None:
    found = versions(("torch", "no-such-package"))
    assert found == {"dynsel": dynsel.__version__, "torch": torch.__version__.split("+")[0]}
    assert package_version("no-such-package") == "unknown"


def test_all_of_it_is_plain() -> None:
    found = provenance(["fit"])
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["command", "versions", "hardware", "date"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", today())
    assert f"{torch.get_num_threads()} thread" in hardware()


def test_a_run_tells_its_origin_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNSEL_COMMIT", "abc")
    commit.cache_clear()
    found = origin("dynsel compare")
    commit.cache_clear()
    assert list(found) == ["command", "hardware", "versions", "date", "commit"]
    assert found["commit"] == "abc"
    assert found["versions"].startswith(f"dynsel {dynsel.__version__}, torch ")


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNSEL_COMMIT", raising=False)
    commit.cache_clear()
    git = ["git", "-C", str(Path(dynsel.__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    if done.returncode:
        assert commit() == "unknown"
    else:
        assert done.stdout.startswith(commit().rstrip("+"))
    commit.cache_clear()
