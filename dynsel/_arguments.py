"""Command lines: a parser whose errors are exceptions, and values written as text."""

from __future__ import annotations

import argparse
import json
from typing import Any, NoReturn

__all__ = ["Parser", "parse_value"]


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and end the process; never completes abbreviated options.

    Args:
        command: As the user calls it.
        description: What it does, in a sentence.
        epilog: Shown under the options as it stands.
    """

    def __init__(self, command: str, description: str, epilog: str) -> None:
        super().__init__(
            command,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_value(text: str) -> Any:
    """A number, true, false, null or anything else in JSON; or else the text itself.

    Example:
        >>> parse_value("0.5"), parse_value("class")
        (0.5, 'class')
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
