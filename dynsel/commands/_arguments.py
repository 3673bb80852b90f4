"""Command lines: a parser whose errors are exceptions, and commands by name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NoReturn

__all__ = ["Parser", "run_command"]


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and end the process; never completes abbreviated options.

    Args:
        command: As the user calls it.
        description: What it does, in a sentence.
        epilog: Shown under the options as it stands.
    """

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            command,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def run_command(
    program: str, commands: Mapping[str, Callable[[list[str]], int]], help_text: str, args: list[str]
) -> int:
    """Run the command that the first argument names.

    Args:
        program: What the commands belong to, as the user calls it.
        commands: By name; each takes the arguments after it and returns an exit code.
        help_text: Printed when asked for, or when there is no argument.
        args: Command and its options.

    Returns:
        Exit code: the command's; 2 without arguments.

    Raises:
        ValueError: If there is no such command.
    """
    if not args or args[0] in ("-h", "--help", "help"):
        print(help_text, end="")
        return 0 if args else 2
    if args[0] not in commands:
        raise ValueError(f"`{program}` has no command {args[0]!r}; it has {', '.join(commands)}")
    try:
        return commands[args[0]](args[1:])
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
