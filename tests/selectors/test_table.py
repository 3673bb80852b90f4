"""The one table of selectors, beside the files of the package and the README's table."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import dynsel.selectors
from dynsel.selectors import SELECTORS, Selector, selector_class
from dynsel.selectors.terms import TERMS, Term

README = Path(__file__).parents[2] / "README.md"


def rows(text: str) -> dict[str, dict[str, str]]:
    """Cells of the Markdown table whose first columns are selector and class, by the selector's short name."""
    lines = [line.strip()[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    lines = [[cell.strip().strip("`") for cell in cells] for cells in lines]
    [headings] = [cells for cells in lines if cells[1:2] == ["class"]]
    return {cells[0]: dict(zip(headings, cells, strict=True)) for cells in lines if cells[0] in SELECTORS}


def test_the_readme_has_every_selector_with_its_class_and_needs() -> None:
    found = rows(README.read_text())
    assert sorted(found) == sorted(SELECTORS)
    for name, row in found.items():
        assert row["class"] == SELECTORS[name].__name__
        # What stands after a semicolon is about options.
        assert row["needs"].split(";")[0] == ", ".join(SELECTORS[name]().needs), name


def defined_in(package: object, kind: type) -> set[type]:
    """Concrete subclasses in the modules of a package, each where it is defined."""
    found = set()
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == info.name]
        found |= {c for c in classes if issubclass(c, kind) and not inspect.isabstract(c)}
    return found


@pytest.mark.parametrize(
    ("package", "kind", "table"), [(dynsel.selectors, Selector, SELECTORS), (dynsel.selectors.terms, Term, TERMS)]
)
def test_every_class_of_the_package_is_in_its_table(package: object, kind: type, table: dict[str, type]) -> None:
    listed = set(table.values())
    bases = {base for cls in listed for base in cls.__mro__}
    assert defined_in(package, kind) - bases == set()
    assert {cls.__name__ for cls in listed} <= set(package.__all__)


@pytest.mark.parametrize("name", list(SELECTORS))
def test_a_methods_file_imports_no_other_methods_file(name: str) -> None:
    """But that of the class that it is a special case of."""
    cls = SELECTORS[name]
    source = inspect.getsource(inspect.getmodule(cls))
    imported = set(re.findall(r"^from (dynsel\.selectors\.\w+)", source, re.MULTILINE))
    methods = {other.__module__ for other in SELECTORS.values()}
    parents = {parent.__module__ for parent in cls.__mro__}
    assert imported & methods <= parents


def test_short_names_are_found() -> None:
    assert all(selector_class(name) is cls for name, cls in SELECTORS.items())
