"""The command `dynsel`: finds the command that is asked for, shows its help, and says in one line what is wrong.

Nothing heavy is imported before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from dynsel._lib.messages import suggest
from dynsel.commands._errors import explain
from dynsel.commands._help import HELP
from dynsel.commands.recipes import with_recipes

__all__ = ["main"]

# Where each command stands: a module of this package and a function that takes the options and returns an exit code.
COMMANDS = {
    "fit": "fit.fit",
    "validate": "fit.validate",
    "test": "fit.test",
    "predict": "fit.predict",
    "compare": "compare.compare",
    "findings": "findings.findings",
    "select": "select.select",
    "distill fit": "distill.fit",
    "distill evaluate": "distill.evaluate",
    "distill export": "distill.export",
    "distill measure": "_measure.measure",
    "features extract": "features.extract",
    "features info": "features.info",
    "features verify": "features.verify",
    "features atlas": "features.atlas",
    "sae fit": "sae.fit",
    "sae info": "sae.info",
    "recipes copy": "recipes.copy",
    "recipes list": "recipes.list_recipes",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Command line without the program's name; None takes the process's own.

    Returns:
        Exit code: 0 = done, 1 = a compared run failed or a store is damaged, 2 = the input is wrong, 130 = interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    if "--version" in words:
        from dynsel import __version__

        print(f"dynsel {__version__}")
        return 0
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    try:
        return _print_completion(words) if words[:1] == ["--print_completion"] else _run(with_recipes(words))
    except KeyboardInterrupt:
        print("\ndynsel: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text = explain(error)
        if text is None or os.environ.get("DYNSEL_DEBUG"):
            raise
        print(f"dynsel: error: {text}", file=sys.stderr)
        return 2


def _print_completion(words: list[str]) -> int:
    from dynsel.commands.completion import completion

    print(completion(" ".join(words[1:])))
    return 0


def _run(words: list[str]) -> int:
    given = [word for word in words if word not in ("-h", "--help", "--help_all")]
    asked = len(given) < len(words)
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if not given or (len(given) == 1 and given[0] in groups):
        print(HELP[" ".join(given)], end="")
        return 0 if asked else 2
    length = 2 if given[0] in groups else 1
    name, options = _known(given[:length]), given[length:]
    if asked and "--help_all" not in words:
        print(HELP[name], end="")
        return 0
    module, function = COMMANDS[name].split(".")
    command = getattr(import_module(f"dynsel.commands.{module}"), function)
    try:
        return int(command([*options, "--help"] if asked else options))
    except SystemExit as stop:  # after --help, --print_config and the like
        return stop.code if isinstance(stop.code, int) else 0


def _known(words: list[str]) -> str:
    """Name of the command that these words are."""
    name = " ".join(words)
    if name not in COMMANDS:
        group = [each.split()[1] for each in COMMANDS if each.startswith(f"{words[0]} ")]
        known = group or dict.fromkeys(each.split()[0] for each in COMMANDS)
        raise ValueError(f"unknown command {name!r}{suggest(words[-1], known)}")
    return name
