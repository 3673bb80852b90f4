"""The house rules that no single module can hold: packages, who imports whom, what an import costs, doctests."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Top-level folders and the packages that they install as.
FOLDERS = {"dynsel": "dynsel", "callbacks": "dynsel.callbacks", "samplers": "dynsel.samplers"}


def sources() -> dict[str, Path]:
    """Every module of the project by its dotted name; the links in `dynsel/` are not followed."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            if not (folder == "dynsel" and inside[0] in FOLDERS):
                found[".".join([package, *inside]).removesuffix(".__init__")] = path
    return found


MODULES = sources()


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names that a module imports anywhere in its source, inside functions as well."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from dynsel import samplers` imports a module as well.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def is_in(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def offenders(of: list[str], *packages: str) -> list[str]:
    """`module -> import` for each of these modules that imports one of these packages."""
    return sorted(f"{m} -> {name}" for m in of for name in imports(m) if is_in(name, *packages))


def modules(*packages: str, but: tuple[str, ...] = ()) -> list[str]:
    return [m for m in MODULES if is_in(m, *packages) and not is_in(m, *but)]


# Commands and reports use everything; the package itself only passes public names on, on demand.
PROGRAMS = (
    "dynsel.__main__",
    "dynsel.commands.main",
    "dynsel.commands.fit",
    "dynsel.compare",
    "dynsel.compare.report",
    "dynsel.coreset",
    "dynsel.compare.report.atlas",
    "dynsel.commands.features",
    "dynsel.commands.sae",
    "dynsel.commands.distill",
    "dynsel.commands.distill_measure",
)
CORE = [m for m in modules("dynsel", but=("dynsel.callbacks", "dynsel.samplers", *PROGRAMS)) if m != "dynsel"]
# Maths and state: one file each, directly in dynsel/.
MATHS = [m for m in CORE if m.count(".") == 1 and MODULES[m].name != "__init__.py"]


# ---------------------------------------------------------------- packages
def test_the_packages_are_the_folders():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = sorted(m for m, path in MODULES.items() if path.name == "__init__.py")
    assert sorted(settings["packages"]) == found
    assert settings["package-dir"] == {package: folder for folder, package in FOLDERS.items()}


def test_every_folder_with_sources_is_a_package():
    bare = {
        str(path.parent.relative_to(ROOT)) for path in MODULES.values() if not (path.parent / "__init__.py").exists()
    }
    assert bare == set()


@pytest.mark.parametrize("name", ["callbacks", "samplers"])
def test_the_links_lead_to_the_folders(name):
    link = ROOT / "dynsel" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "dynsel/py.typed").exists()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in settings["package-data"]["dynsel"]


def test_files_that_are_no_sources_are_installed():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    given = {ROOT / package.replace(".", "/") / name for package, names in packages.items() for name in names}
    found = {
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found == given


def test_public_modules_list_their_names():
    """`__all__` everywhere but in files that start with an underscore, and no name in it that isn't there."""
    for module, path in MODULES.items():
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        assert "__all__" in path.read_text(), module


# ---------------------------------------------------------------- who imports whom
def test_the_core_imports_neither_callbacks_nor_samplers():
    assert offenders(CORE, "dynsel.callbacks", "dynsel.samplers", *PROGRAMS) == []


def test_the_maths_import_no_methods_and_no_data():
    assert offenders(MATHS, "dynsel.selectors", "dynsel.features", "dynsel.data", "dynsel.models") == []


def test_selectors_import_the_maths_only():
    assert offenders(modules("dynsel.selectors"), "dynsel.features", "dynsel.data", "dynsel.models") == []


def test_only_recipes_and_class_paths_lead_to_data_and_models():
    others = modules("dynsel", but=("dynsel.data", "dynsel.models"))
    assert offenders(others, "dynsel.data", "dynsel.models") == []


def test_samplers_import_neither_lightning_nor_callbacks():
    assert offenders(modules("dynsel.samplers"), "lightning", "pytorch_lightning", "dynsel.callbacks", *PROGRAMS) == []


def test_only_programs_import_callbacks():
    others = [m for m in modules("dynsel", but=("dynsel.callbacks", *PROGRAMS)) if m != "dynsel"]
    assert offenders(others, "dynsel.callbacks") == []


def test_lightning_stays_where_something_is_trained_or_driven():
    allowed = ("dynsel.callbacks", "dynsel.models", "dynsel.data", "dynsel.features", "dynsel.distill", *PROGRAMS)
    others = [m for m in modules("dynsel", but=allowed) if not m.endswith("_training")]
    assert offenders(others, "lightning", "pytorch_lightning") == []


def test_nobody_imports_the_folders_by_their_bare_names():
    assert offenders(list(MODULES), "callbacks", "samplers", "tests", "recipes") == []


# ---------------------------------------------------------------- what an import costs
HEAVY = ["lightning", "open_clip", "sklearn", "matplotlib", "torchvision", "torch_geometric", "torchmetrics", "umap"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import dynsel", ["torch", "numpy", *HEAVY]),
        ("import dynsel.commands.main", ["torch", "lightning", "open_clip"]),
        ("import dynsel.selectors, dynsel.samplers; from dynsel import Selection, SelectionController", HEAVY),
    ],
)
def test_imports_stay_light(statement, absent):
    """In a process of its own; what it loads is what it costs."""
    program = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(output.stdout.splitlines()[-1])}
    assert loaded & set(absent) == set()


def test_public_names_are_there():
    import dynsel

    assert all(getattr(dynsel, name) is not None for name in dynsel.__all__)
    with pytest.raises(AttributeError, match="module 'dynsel' has no attribute 'nothing'"):
        _ = dynsel.nothing


# ---------------------------------------------------------------- doctests
@pytest.mark.parametrize("name", list(MODULES))
def test_docstrings_tell_the_truth(name, tmp_path, monkeypatch):
    """Each module under its installed name: its examples run, and the names in `__all__` exist."""
    monkeypatch.chdir(tmp_path)  # whatever an example writes
    module = importlib.import_module(name)
    assert [entry for entry in getattr(module, "__all__", []) if not hasattr(module, entry)] == []
    assert doctest.testmod(module).failed == 0
