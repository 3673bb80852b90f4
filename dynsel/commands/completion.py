"""`dynsel --print_completion`: a script with which a shell completes commands, options, selectors and recipes."""

from __future__ import annotations

import argparse
import inspect
import re

from dynsel.commands._help import HELP

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "tcsh")
FILES = re.compile(r"(FILE|FOLDER|STORE)\b")


def completion(shell: str) -> str:
    """The script, made by shtab from the help texts and the arguments of `DynamicSelection` and Lightning's Trainer.

    Args:
        shell: "bash", "zsh" or "tcsh".

    Raises:
        ValueError: If the shell is another.
        ImportError: If shtab isn't installed.
    """
    if shell not in SHELLS:
        raise ValueError(f"`--print_completion` must be bash, zsh or tcsh, got {shell!r}")
    try:
        import shtab
    except ModuleNotFoundError:
        raise ImportError("`--print_completion` needs shtab; install it with: pip install shtab") from None
    return str(shtab.complete(_parser(), shell))


def _parser() -> argparse.ArgumentParser:
    """A parser that knows every command and its options by name, and what their values may be."""
    parser = argparse.ArgumentParser("dynsel", description="Dynamic per-epoch data selection.")
    parser.add_argument("--version", action="store_true", help="version number")
    groups = {"": parser.add_subparsers()}
    for name, text in HELP.items():
        if not name:
            continue
        *group, command = name.split()
        about = next(line for line in text.splitlines()[1:] if line)
        made = groups[" ".join(group)].add_parser(command, help=about)
        if "<command>" in text.splitlines()[0]:
            groups[name] = made.add_subparsers()
        else:
            _add_options(made, name, text)
    return parser


def _add_options(parser: argparse.ArgumentParser, command: str, text: str) -> None:
    import shtab

    if command in ("fit", "validate", "test", "predict", "compare"):
        text += "".join(f"\n  {name} VALUE" for name in _nested())
    for name, value in dict(re.findall(r"^  (--[a-z]\w*(?:\.[a-z]\w*)*)(?: ([A-Z]+))?", text, re.MULTILINE)).items():
        if name == "--help_all":
            parser.add_argument(name, action="store_true")
            continue
        choices = _choices(name)
        option = parser.add_argument(name, nargs="+" if name == "--selectors" else None, choices=choices)
        if choices is None and FILES.match(value):
            option.complete = shtab.DIRECTORY if value == "FOLDER" else shtab.FILE  # type: ignore[attr-defined]


def _nested() -> list[str]:
    """Options of the selection and of the trainer, the keys that every training's YAML file has."""
    import lightning.pytorch as pl

    from dynsel.callbacks import DynamicSelection

    groups = {"selection": DynamicSelection, "trainer": pl.Trainer}
    return [f"--{group}.{name}" for group, cls in groups.items() for name in inspect.signature(cls).parameters]


def _choices(option: str) -> list[str] | None:
    from dynsel.selectors import SELECTORS

    if option in ("--selectors", "--selector", "--selection.selector"):
        return sorted(SELECTORS)
    return {"--equal": ["steps", "samples", "seconds"]}.get(option)
