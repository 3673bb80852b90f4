"""Every way to install dynsel: it imports from an empty folder, and pyright and mypy find what is in it.

Each test has an environment of its own, which sees this one's packages but not its dynsel. Takes a minute or two.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
LINKS = ("dynsel/callbacks", "dynsel/samplers")
FOLDERS = ("callbacks", "dynsel", "recipes", "samplers", "docs", "tests", "examples", ".github")
USER = """
from dynsel import DynamicSelection, Selection, SelectionSampler
from dynsel.callbacks import BatchFraction
from dynsel.samplers import PlainDriver
from dynsel.selectors import RRD


def samples(callback: DynamicSelection) -> int:
    return callback.history[-1].samples_trained


selection: DynamicSelection = DynamicSelection(RRD(k=8), keep_ratio=0.5)
"""
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git, or no clone of it"
)


def run(*words: str | Path, cwd: Path, **settings: str) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**SETTINGS, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def source(folder: Path) -> Path:
    """A copy of the checkout as it is, with its links."""
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder / path.name)
    return folder


def without_links(folder: Path) -> Path:
    """What a zip becomes that Python's zipfile unpacks, and a clone on Windows: each link a file with its text."""
    packed = folder.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_symlink():
                archive.writestr(name, str(path.readlink()))
            elif path.is_file() and not name.startswith(LINKS):
                archive.write(path, name)
    unpacked = folder.with_name("unpacked")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(unpacked)
    assert (unpacked / LINKS[0]).read_text() == "../callbacks"
    return unpacked


class Environment:
    """A Python of its own, whose packages are this one's, all but dynsel."""

    def __init__(self, folder: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
        self.python, self.empty = folder / "venv/bin/python", folder / "empty"
        self.empty.mkdir()
        packages = Path(run(self.python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).strip())
        # Only its folder: the .pth files in there, an editable dynsel's too, are not followed.
        (packages / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def install(self, *words: str | Path) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-deps")
        run(*pip, "--no-build-isolation", "--force-reinstall", *words, cwd=self.empty)

    def check(self) -> None:
        """From an empty folder: all packages import, the command runs, the recipes are there."""
        run(self.python, "-c", "import dynsel.callbacks.listening, dynsel.samplers", cwd=self.empty)
        command = self.python.with_name("dynsel")
        assert run(command, "--version", cwd=self.empty).startswith("dynsel 0.")
        assert "dynsel:cifar10/small" in run(command, "recipes", "list", cwd=self.empty)
        config = run(command, "fit", "--config", "dynsel:digits", "--print_config", cwd=self.empty)
        assert "architecture: small_cnn" in config


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "checkout").mkdir()
    return source(tmp_path / "checkout")


def editable(environment: Environment, checkout: Path) -> None:
    environment.install("--editable", checkout)


def wheel(environment: Environment, checkout: Path) -> None:
    environment.install(checkout)


INSTALLS = pytest.mark.parametrize("install", [editable, wheel])


@INSTALLS
def test_it_imports_from_anywhere(install: Callable[..., None], environment: Environment, checkout: Path) -> None:
    install(environment, checkout)
    environment.check()


@INSTALLS
def test_mypy_finds_the_types(install: Callable[..., None], environment: Environment, checkout: Path) -> None:
    pytest.importorskip("mypy")
    install(environment, checkout)
    (environment.empty / "user.py").write_text(USER)
    options = ("--strict", "--python-executable", environment.python)
    said = run(sys.executable, "-m", "mypy", *options, "user.py", cwd=environment.empty)
    assert "Success" in said


@INSTALLS
def test_pyright_finds_the_types(install: Callable[..., None], environment: Environment, checkout: Path) -> None:
    """By pyright, as VS Code does, or its twin basedpyright, which needs no download of its own."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = [path for name in ("pyright", "basedpyright") if (path := shutil.which(name, path=places))]
    if not found:
        pytest.skip("pyright is not installed: pip install pyright")
    install(environment, checkout)
    (environment.empty / "user.py").write_text(USER + "\nreveal_type(samples)\n")
    said = run(found[0], "--pythonpath", environment.python, "user.py", cwd=environment.empty)
    assert "0 errors" in said
    assert "(callback: DynamicSelection) -> int" in said


@pytest.mark.parametrize("install", [editable, wheel])
def test_a_zip_unpacked_without_links(install: Callable[..., None], environment: Environment, checkout: Path) -> None:
    unpacked = without_links(checkout)
    install(environment, unpacked)
    environment.check()
    # From the folder itself, too, where dynsel/ comes first.
    run(environment.python, "-c", "import dynsel.callbacks.listening, dynsel.samplers", cwd=unpacked)
    run(environment.python, "-m", "pytest", "-q", "tests/test_house.py", "tests/test_selection.py", cwd=unpacked)


@needs_git
def test_a_clone_without_links(environment: Environment, tmp_path: Path) -> None:
    run("git", "clone", "--quiet", "-c", "core.symlinks=false", ROOT, tmp_path / "clone", cwd=tmp_path)
    assert (tmp_path / "clone" / LINKS[0]).is_file()
    environment.install("--editable", tmp_path / "clone")
    environment.check()
    run(environment.python, "-m", "pytest", "-q", "tests/test_house.py", cwd=tmp_path / "clone")


@needs_git
def test_from_git(environment: Environment) -> None:
    environment.install(f"git+file://{ROOT}")
    environment.check()


def test_the_source_distribution_holds_its_tests_and_they_pass(
    environment: Environment, checkout: Path, tmp_path: Path
) -> None:
    """Those tests of it that depend on where things stand; all others do as well as here."""
    run(sys.executable, "-c", BUILD, cwd=checkout)
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert not (unpacked / LINKS[0]).exists()
    for name in ("CHANGELOG.md", "docs/house.md", "recipes/digits.yaml", "tests/kinds", "Makefile", "mkdocs.yml"):
        assert (unpacked / name).exists(), name
    assert not list(unpacked.rglob("*.pyc"))
    environment.install(unpacked)
    environment.check()
    files = ["tests/test_house.py", "tests/test_docs.py", "tests/test_recipes.py", "tests/commands/test_recipes.py"]
    run(environment.python, "-m", "pytest", "-q", *files, "tests/samplers/test_planning.py", cwd=unpacked)


BUILD = 'from setuptools.build_meta import build_sdist; build_sdist("dist")'
