"""`dynsel recipes`: the YAML files that come with dynsel, by name or as copies to change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynsel._lib.messages import suggest

__all__ = ["copy", "list_recipes", "recipe_names", "recipe_path", "with_recipes"]

PREFIX = "dynsel:"


def _folder() -> Path:
    """Where the recipes are: in the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "recipes"


def recipe_names() -> list[str]:
    """Names of all recipes, as `cifar10/small`, in alphabetical order."""
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def recipe_path(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: Name of the recipe, as `digits` or `cifar10/small`, with or without `.yaml`.

    Raises:
        ValueError: If there is none of that name.
    """
    known = recipe_names()
    plain = name.removesuffix(".yaml")
    if plain not in known:
        raise ValueError(f"there is no recipe {name!r}{suggest(plain, known)}; `dynsel recipes list` names all")
    return _folder() / f"{plain}.yaml"


def with_recipes(words: Sequence[str]) -> list[str]:
    """A command line with paths in place of recipes' names: `--config dynsel:digits`.

    Args:
        words: Command line after the program's name.

    Raises:
        ValueError: If there is no recipe of a name.
    """
    found = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if equals and option == "--config" and value.startswith(PREFIX):
            word = f"--config={recipe_path(value.removeprefix(PREFIX))}"
        elif before in ("--config", "-c") and word.startswith(PREFIX):
            word = str(recipe_path(word.removeprefix(PREFIX)))
        found.append(word)
    return found


def list_recipes(args: list[str]) -> int:
    """Run `dynsel recipes list`: each name with the first sentence of its file.

    Args:
        args: Options of the command: none.

    Returns:
        Exit code: 0.
    """
    from dynsel.commands._arguments import CommandParser

    CommandParser("dynsel recipes list").parse_args(args)
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        print(f"{PREFIX}{name.ljust(width)}  {_about(recipe_path(name))}".rstrip())
    return 0


def _about(recipe: Path) -> str:
    first = recipe.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").partition(":")[0].rstrip(".") if first.startswith("#") else ""


def copy(args: list[str]) -> int:
    """Run `dynsel recipes copy`.

    Args:
        args: Options of the command: those of `_copy`.

    Returns:
        Exit code: 0.
    """
    from dynsel.commands._arguments import CommandParser

    parser = CommandParser("dynsel recipes copy")
    parser.add_signature(_copy, positional=True)
    return _copy(**parser.parse_args(args).as_dict())


def _copy(folder: Path, force: bool = False) -> int:
    """Copy all recipes into a folder of one's own, to change them.

    Args:
        folder: Folder to copy to; it is made if need be.
        force: Overwrite files that are there already.
    """
    copies = {folder / f"{name}.yaml": recipe_path(name) for name in recipe_names()}
    there = [path for path in copies if path.exists()]
    if there and not force:
        raise ValueError(f"`folder`: {there[0]} exists already; give another folder, or --force to overwrite")
    for path, recipe in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recipe.read_bytes())
    print(f"{len(copies)} recipes in {folder}")
    return 0
