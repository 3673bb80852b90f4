"""Who imports whom: `python tests/import_table.py [FOLDER]` prints the rooms of a checkout, their lines and imports.

A room is a folder or a file directly in `dynsel/`, or one of the folders `callbacks/` and `samplers/`. Imports inside
functions count as those at the top of a file do; those under `if TYPE_CHECKING:` don't, since no program runs them.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# Top-level folders and the packages that they install as.
FOLDERS = {"dynsel": "dynsel", "callbacks": "dynsel.callbacks", "samplers": "dynsel.samplers"}


def sources(root: Path) -> dict[str, Path]:
    """Every module of the project by its dotted name; the links in `dynsel/` are not followed."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            inside = path.relative_to(root / folder).with_suffix("").parts
            if not (folder == "dynsel" and inside[0] in FOLDERS):
                found[".".join([package, *inside]).removesuffix(".__init__")] = path
    return found


def imported_names(path: Path, *, everywhere: bool = False) -> set[str]:
    """Dotted names that a file imports; `from a import b` gives a and a.b.

    Args:
        path: A Python file.
        everywhere: Whether imports under `if TYPE_CHECKING:` count as well.
    """
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if not everywhere and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return names


def edges(modules: dict[str, Path]) -> dict[str, set[str]]:
    """The modules that each module imports; of a package and a module inside it the module alone."""
    found = {}
    for module, path in modules.items():
        names = imported_names(path) & set(modules)
        found[module] = {n for n in names if not any(other.startswith(n + ".") for other in names)} - {module}
    return found


def room(module: str) -> str:
    """The part of `dynsel` that a module belongs to; "dynsel" for the package itself."""
    return "dynsel" if module == "dynsel" else module.split(".")[1]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, from a node back to itself; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])[::-1]
    return []


def between_rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph of the rooms; a folder inside a room, as `compare/report`, is part of it."""
    grouped: dict[str, set[str]] = {}
    for module, others in graph.items():
        grouped.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
    return grouped


def main(root: Path) -> None:
    """Print the table of rooms: lines, files, and how many of a row's files import something of a column."""
    modules = sources(root)
    graph = edges(modules)
    lines, files, counts = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for module, path in modules.items():
        lines[room(module)] += len(path.read_text().splitlines())
        files[room(module)] += 1
        counts.update({(room(module), room(other)) for other in graph[module] if room(other) != room(module)})
    rooms = sorted(lines)
    used = [r for r in rooms if any(counts[other, r] for other in rooms)]
    print("| room | lines | files |", " | ".join(used), "|")
    print("|---" * (3 + len(used)) + "|")
    for r in rooms:
        print(f"| {r} | {lines[r]} | {files[r]} |", " | ".join(str(counts[r, o] or "") for o in used), "|")
    print(f"| all | {sum(lines.values())} | {sum(files.values())} |", " | ".join("" for _ in used), "|")
    print("\ncircle of files:", " -> ".join(circle(graph)) or "none")
    print("circle of rooms:", " -> ".join(circle(between_rooms(graph))) or "none")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
