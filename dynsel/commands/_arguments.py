"""Parsers made from functions' signatures, whose errors are exceptions."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from dynsel._lib.messages import did_you_mean, suggest
from dynsel._lib.parsers import limit_aliases

__all__ = ["CommandParser", "Parser", "suggest_option", "training_options", "with_suggestion"]


def training_options() -> list[str]:
    """Options of a training that are named with their group, as `--trainer.max_epochs`."""
    import lightning.pytorch as pl

    from dynsel.callbacks import DynamicSelection

    groups = {"selection": DynamicSelection, "trainer": pl.Trainer}
    return [f"--{group}.{name}" for group, cls in groups.items() for name in inspect.signature(cls).parameters]


def suggest_option(name: str, known: Iterable[str], *, others: bool = True) -> str:
    """The end of a message about an unknown option: those whose last part it is, else what may have been meant.

    Args:
        name: The option that was given.
        known: The options that there are.
        others: Whether to name some if none is near.

    Example:
        >>> suggest_option("--max-epochs", ["--metric", "--trainer.max_epochs"])
        "; did you mean '--trainer.max_epochs'?"
    """
    choices, plain = list(known), name.removeprefix("--").replace("-", "_")
    whole = [one for one in choices if one.rpartition(".")[2] == plain]
    if whole and f"--{plain}" not in choices:
        return did_you_mean(whole[:3])
    return suggest(name, choices, others=others)


def with_suggestion(message: str, parser: argparse.ArgumentParser, more: Iterable[str] = ()) -> str:
    """What a parser says, and which options may have been meant if it says that one is unknown.

    Args:
        message: As a parser raises it, from anywhere.
        parser: Parser whose options are suggested.
        more: Options of other parsers that the command knows.
    """
    start, _, words = message.partition("unrecognized arguments: ")
    if start or not words:
        return message
    known = [name for name in parser._option_string_actions if name.startswith("--") and "help" not in name]
    name = words.split()[0].split("=")[0]
    if "." in name and not any("." in one for one in known):
        return message  # part of a configuration, of which this parser knows nothing
    near = suggest_option(name, [*known, *more])
    return message if near in message else message + near  # an error may come by again with its own message


class CommandParser(ArgumentParser):
    """Options of one command, taken from signatures and docstrings; raises where argparse would end the process.

    Args:
        *args: Positional arguments of `jsonargparse.ArgumentParser`, the first being the command as the user calls it.
        **options: Keyword arguments likewise.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        limit_aliases()
        super().__init__(*args, **{"exit_on_error": False, "allow_abbrev": False, **options})

    def add_signature(self, function: Callable[..., Any], *skip: str, positional: bool = False) -> list[str]:
        """One option per parameter, with its default and its description in the docstring; returns their names.

        Args:
            function: Function or class whose parameters become options; a bool may be given without a value.
            *skip: Parameters that aren't options.
            positional: Whether parameters without a default are given without their name.
        """
        names = self.add_function_arguments(function, as_group=False, as_positional=positional, skip=set(skip))
        for action in self._actions:
            if action.metavar == "{true,false}":
                action.nargs, action.const = "?", True
        return names

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of ending the process; options have the form and the name that they are typed with.

        Args:
            message: What is wrong with the command line.
            ex: What was raised because of it.
        """
        message = with_suggestion(message, self)
        start, said, names = message.partition("the following arguments are required: ")
        if said and not start:
            typed = [f"--{name}" if f"--{name}" in self._option_string_actions else name for name in names.split(", ")]
            message = said + ", ".join(typed)
        super().error(message, ex)


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and end the process; never completes abbreviated options.

    For the one command that passes what it doesn't know on to another parser.

    Args:
        command: The command as the user calls it, for the help.
        description: What it does, in a sentence.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(command, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process.

        Args:
            message: What is wrong with the command line.

        Raises:
            ValueError: With this message, always.
        """
        raise ValueError(message)
