"""What surrounds the code says the same everywhere: versions, supported Pythons, commands of the workflows."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
needs_workflows = pytest.mark.skipif(not WORKFLOWS, reason="a source distribution has no workflows")


def workflow(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / ".github/workflows" / name).read_text()))


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f'"{version}+checkout"' in (ROOT / "dynsel/_lib/provenance.py").read_text()
    assert re.search(rf"^## \[{re.escape(version)}\] - 20\d\d-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_no_address_is_a_placeholder() -> None:
    assert "urls" not in PROJECT
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "pyproject.toml", ROOT / "CITATION.cff"]
    for path in files:
        assert not re.search(r"example\.(com|org)|your-?org|github\.com/dynsel|TODO|FIXME", path.read_text()), path


def test_every_benchmark_that_is_checked_has_a_bound() -> None:
    source = ast.parse((ROOT / "recipes/benchmarks/check.py").read_text())
    (measures,) = [
        n.value for n in ast.walk(source) if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "MEASURES"
    ]
    assert isinstance(measures, ast.Dict)
    names = [key.value for key in measures.keys if isinstance(key, ast.Constant)]
    bounds = json.loads((ROOT / "recipes/benchmarks/bounds.json").read_text())
    assert list(bounds) == names
    assert all(1 < bound < 2 for bound in bounds.values())


@needs_workflows
def test_every_supported_python_is_in_the_matrix() -> None:
    rows = workflow("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    tested = {row.get("python", "3.12") for row in rows}
    said = {name.rsplit(" ", 1)[1] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    assert tested == said
    assert min(said) == PROJECT["requires-python"].removeprefix(">=")


@needs_workflows
def test_the_oldest_row_has_the_oldest_releases_that_are_supported() -> None:
    rows = workflow("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    (oldest,) = [row["oldest"] for row in rows if "oldest" in row]
    for package, version in re.findall(r"(\w+)==([\d.]+)\.\*", oldest):
        (floor,) = [name for name in PROJECT["dependencies"] if name.startswith(f"{package}>=")]
        assert version.startswith(floor.partition(">=")[2])
    assert all(words in (ROOT / "Makefile").read_text() for words in oldest.split())


@needs_workflows
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_there_is(path: Path) -> None:
    text = path.read_text()
    targets = {*re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    assert {*re.findall(r"run: make ([a-z-]+)", text)} <= targets
    assert all((ROOT / name).exists() for name in re.findall(r"tests/[\w/.]+", text))
    assert workflow(path.name)["permissions"] == {"contents": "read"}
    for job in workflow(path.name)["jobs"].values():
        assert job["runs-on"]
