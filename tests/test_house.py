"""The house rules that no single module can hold: packages, who imports whom, what an import costs, docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import import_table
import pytest
from import_table import FOLDERS, between_rooms, circle, edges, imported_names, room, sources

ROOT = Path(__file__).parents[1]
MODULES = sources(ROOT)
GRAPH = edges(MODULES)
# Who may import whom: a room those of the lines below its own, and of its own line where no circle comes of it.
# Recipes, tests and class paths alone lead to `data` and `models`; the package itself passes public names on.
ORDER = (
    ("__main__",),
    ("commands",),
    ("compare", "coreset", "distill"),
    ("callbacks",),
    ("samplers", "coreset"),
    ("selectors",),
    ("cfd", "graph", "sae", "features", "selection", "usage", "schedules", "labels", "metrics"),
    ("_lib",),
)
# Files with the place of a folder where there are no links: see test_the_links_lead_to_the_folders.
LINKS = {ROOT / "dynsel" / name for name in ("callbacks", "samplers")}
LEVEL = {name: number for number, names in enumerate(ORDER) for name in names}
ASIDE = {"data", "models", "dynsel"}


def offenders(*packages: str, but: tuple[str, ...] = ()) -> list[str]:
    """`module -> import` for each module, but in these rooms or files, that imports one of these packages."""
    return sorted(
        f"{module} -> {name}"
        for module, path in MODULES.items()
        if room(module) not in but and module not in but
        for name in imported_names(path, everywhere=True)
        if any(name == package or name.startswith(package + ".") for package in packages)
    )


# ---------------------------------------------------------------- packages
def test_the_packages_are_the_folders():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = sorted(m for m, path in MODULES.items() if path.name == "__init__.py")
    assert sorted(settings["packages"]) == found


def test_every_folder_with_sources_is_a_package():
    bare = {
        str(path.parent.relative_to(ROOT)) for path in MODULES.values() if not (path.parent / "__init__.py").exists()
    }
    assert bare == set()


@pytest.mark.parametrize("name", ["callbacks", "samplers"])
def test_the_links_lead_to_the_folders(name):
    link = ROOT / "dynsel" / name
    if (ROOT / "PKG-INFO").exists():
        assert not link.exists()  # a source distribution has no second copy
    else:  # git on Windows, and Python's zipfile, write what a link says into a file
        assert (str(link.readlink()) if link.is_symlink() else link.read_text()) == f"../{name}"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "dynsel/py.typed").exists()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in settings["package-data"]["dynsel"]


def place(package: str) -> Path:
    """Folder of a package, with links or without."""
    top = max((name for name in FOLDERS.values() if f"{package}.".startswith(f"{name}.")), key=len)
    folder = next(folder for folder, name in FOLDERS.items() if name == top)
    return ROOT / folder / package.removeprefix(top).lstrip(".").replace(".", "/")


def test_files_that_are_no_sources_are_installed():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    given = {place(package) / name for package, names in packages.items() for name in names}
    found = {
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path not in LINKS
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


def test_the_top_level_has_at_most_twenty_entries():
    entries = [path.name for path in (ROOT / "dynsel").iterdir() if not path.name.startswith("__")]
    assert len(entries) <= 20, sorted(entries)


# ---------------------------------------------------------------- who imports whom
def test_every_room_has_its_place_in_the_order():
    assert {room(module) for module in MODULES} == {*LEVEL, *ASIDE}


def test_imports_go_one_way():
    upwards = [
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other in others
        if {room(module), room(other)} <= {*LEVEL} and LEVEL[room(other)] < LEVEL[room(module)]
    ]
    assert upwards == []


def test_only_recipes_and_class_paths_lead_to_data_and_models():
    assert offenders("dynsel.data", "dynsel.models", but=("data", "models")) == []


def test_data_and_models_import_what_is_below_the_callbacks():
    others = {room(other) for module in MODULES if room(module) in ("data", "models") for other in GRAPH[module]}
    assert others <= {"data", "models", "distill", *(name for name in LEVEL if LEVEL[name] > LEVEL["callbacks"])}


def test_files_import_each_other_in_no_circle():
    assert circle(GRAPH) == []


def test_rooms_import_each_other_in_no_circle():
    """Imports inside functions count as any others, those for types alone don't."""
    assert circle(between_rooms(GRAPH)) == []


def test_lightning_stays_where_something_is_trained_or_driven():
    rooms = ("callbacks", "models", "data", "features", "distill", "compare", "commands")
    assert offenders("lightning", "pytorch_lightning", but=(*rooms, "dynsel.sae.training", "dynsel._lib.quiet")) == []


def test_nobody_imports_the_folders_by_their_bare_names():
    assert offenders("callbacks", "samplers", "tests", "recipes") == []


@pytest.mark.parametrize(
    ("graph", "wanted"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, ["a", "b", "c"]),
        ({"a": {"b"}, "b": {"a", "c"}, "c": set()}, ["a", "b"]),
    ],
)
def test_circles_are_found(graph, wanted):
    found = circle(graph)
    assert sorted(set(found)) == wanted
    assert all(other in graph[one] for one, other in pairwise(found))


def test_the_table_of_imports_counts_files(tmp_path, capsys):
    """Two files of one room that import another, one of them inside a function, and one for its types alone."""
    for name, text in {
        "callbacks/one.py": "from dynsel import selection\n",
        "callbacks/two.py": "def f():\n    from dynsel.selection import Selection\n    return Selection\n",
        "callbacks/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dynsel.selection\n",
        "dynsel/selection.py": "Selection = int\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    import_table.main(tmp_path)
    assert "| callbacks | 7 | 3 | 2 |" in capsys.readouterr().out


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


# ---------------------------------------------------------------- docstrings
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition, str]]:
    """Public classes, functions and methods by name, with their docstrings; `__init__` with that of its class."""
    for node in tree.body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        yield node.name, node, ast.get_docstring(node) or ""
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            if not isinstance(inner, ast.FunctionDef) or any(
                ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in inner.decorator_list
            ):
                continue
            if inner.name == "__init__":
                yield f"{node.name}.__init__", inner, ast.get_docstring(node) or ""
            elif not inner.name.startswith("_"):
                yield f"{node.name}.{inner.name}", inner, ast.get_docstring(inner) or ""


def raises(function: Definition) -> bool:
    """Whether a function raises an error itself, in its own lines: not one that it caught, nor in a function inside."""
    waiting: list[ast.AST] = list(function.body) if not isinstance(function, ast.ClassDef) else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if not isinstance(node, Definition | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def all_definitions() -> Iterator[tuple[str, Definition, str]]:
    for module in sorted(MODULES):
        for name, node, text in definitions(ast.parse(MODULES[module].read_text())):
            yield f"{module}.{name}", node, text


def test_public_definitions_have_docstrings():
    assert [name for name, _, text in all_definitions() if not text] == []


def test_docstrings_say_what_is_raised():
    assert [name for name, node, text in all_definitions() if raises(node) and "Raises:" not in text] == []


def test_missing_docstrings_are_found():
    """A method without one, a class whose `__init__` raises; what is private, passed on or inside doesn't count."""
    text = """
        def fine():
            "Calls what raises."
            def inner():
                raise ValueError
            try:
                inner()
            except ValueError:
                raise

        class Thing:
            "Without a word about errors."
            def __init__(self):
                raise TypeError
            def told(self):
                "Said. Raises: ValueError."
                raise ValueError
            def bare(self): ...
            def _private(self):
                raise ValueError
    """
    found = list(definitions(ast.parse(textwrap.dedent(text))))
    assert [name for name, _, text in found if not text] == ["Thing.bare"]
    assert [name for name, node, text in found if raises(node) and "Raises:" not in text] == ["Thing.__init__"]


# ---------------------------------------------------------------- tests
# Files that say nothing without a Trainer, a loader or a command, and who asks them there. All of `callbacks/listening`
# is asked by the table of kinds in `tests/kinds`.
ASKED_BY = {
    "dynsel.callbacks.arrived": "callbacks/test_batch_selection.py",
    "dynsel.callbacks.dynamic_selection": "callbacks/test_epoch.py",
    "dynsel.callbacks.lightning_driver": "callbacks/test_compatibility.py",
    "dynsel.callbacks.train_batches": "callbacks/test_batch_fraction.py",
    "dynsel.callbacks.transformers_driver": "engines/test_transformers.py",
    "dynsel.callbacks.transformers_trainer": "engines/test_transformers.py",
    "dynsel.commands._results": "commands/test_compare.py",
    "dynsel.commands.fit": "commands/test_main.py",
    "dynsel.compare.beside": "commands/test_compare.py",
    "dynsel.compare.report.writing": "compare/report/test_page.py",
    "dynsel.features.extraction": "features/test_extract.py",
    "dynsel.features.progress": "features/test_extract.py",
    "dynsel.samplers.accelerated": "engines/test_accelerate.py",
    "dynsel.samplers.arrivals": "samplers/test_collation.py",
    "dynsel.samplers.choosing": "samplers/test_rounds.py",
    "dynsel.samplers.epoch_order": "samplers/test_selection_sampler.py",
    "dynsel.samplers.loader": "callbacks/test_loaders.py",
    "dynsel.selectors.base": "selectors/test_contract.py",
    "dynsel.selectors.population": "selectors/test_sharded.py",
    "dynsel.selectors.terms.batch_loss": "selectors/terms/test_average.py",
    "dynsel.selectors.terms.loss": "selectors/terms/test_average.py",
}


def own_test(module: str) -> Path:
    """The test file of a module's name: of `dynsel._lib.files`, `tests/_lib/test_files.py`."""
    *folders, name = module.split(".")[1:]
    return ROOT.joinpath("tests", *folders, f"test_{name.lstrip('_')}.py")


def test_files_have_a_test_file_of_their_name():
    """A new file has one, or a row above that says who tests it instead."""
    files = {m for m, path in MODULES.items() if not path.name.startswith("__")}
    files -= {m for m in files if m.startswith("dynsel.callbacks.listening.")}
    without = sorted(m for m in files if not own_test(m).exists())
    assert without == sorted(ASKED_BY)
    assert [name for name in ASKED_BY.values() if not (ROOT / "tests" / name).exists()] == []


# ---------------------------------------------------------------- doctests
# Examples that run where a library is installed.
OPTIONAL = {"dynsel.callbacks.transformers_trainer": "transformers"}


@pytest.mark.parametrize("name", list(MODULES))
def test_docstrings_tell_the_truth(name, tmp_path, monkeypatch):
    """Each module under its installed name: its examples run, and the names in `__all__` exist."""
    monkeypatch.chdir(tmp_path)  # whatever an example writes
    module = importlib.import_module(name)
    assert [entry for entry in getattr(module, "__all__", []) if not hasattr(module, entry)] == []
    if library := OPTIONAL.get(name):
        pytest.importorskip(library)
    assert doctest.testmod(module).failed == 0
