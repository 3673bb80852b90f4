"""A selector written as text, as on a command line or in a YAML file: `rrd`, `rrd:k=8,gamma=0.5`, `my_package.Mine`."""

from __future__ import annotations

import importlib
import inspect
import json
import math
from typing import Any, cast

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from dynsel._lib.messages import suggest, suggest_all
from dynsel._lib.parsers import instantiate
from dynsel.selectors import SELECTORS, Selector, selector_class

__all__ = ["class_path", "find_selector", "parse_selector", "parse_value", "selector_config", "split_spec"]


def find_selector(name: str) -> type[Selector]:
    """The selector class of a short name or a class path.

    Args:
        name: Short name such as "rrd", or a class path such as "my_package.Mine".

    Raises:
        ValueError: If there is none, with similar names.
    """
    module, _, attribute = name.rpartition(".")
    if not module:
        return selector_class(name)
    known: list[str] = []
    try:
        place = importlib.import_module(module)
        known = [key for key, value in vars(place).items() if _is_selector(value)]
        found = getattr(place, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"unknown selector {name!r} ({error}){suggest(attribute, known, others=False)}") from error
    if not _is_selector(found):
        raise ValueError(f"{name!r} is no selector: it is not a subclass of dynsel.selectors.Selector")
    return cast(type[Selector], found)


def _is_selector(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Selector)


def parse_selector(spec: str) -> tuple[type[Selector], dict[str, Any]]:
    """The class and the arguments of `NAME` or `NAME:argument=value,argument=value`.

    Values are JSON or else strings; an object such as a schedule is given as in a YAML file, by `class_path` and
    `init_args`.

    Args:
        spec: Selector as text, as in `rrd:k=8`.

    Returns:
        The class and the keyword arguments that were given, of the types that the class asks for.

    Raises:
        ValueError: If the selector or an argument is unknown, or a value is out of range.
    """
    name, parts = split_spec(spec)
    cls = find_selector(name)
    arguments: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        known = inspect.signature(cls).parameters
        if key not in known:
            raise ValueError(f"{spec!r}: {cls.__name__} has no argument {key!r}{suggest_all(key, known)}")
        if not equals:
            raise ValueError(f"{spec!r}: {part!r} must be argument=value, as in {key}=1")
        arguments[key] = parse_value(value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "selector", fail_untyped=False)
    try:
        parsed = parser.parse_object({"selector": arguments})
        instantiate(parser, parsed)
    except (ArgumentError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise ValueError(f"{spec!r}: {error}") from error
    return cls, {key: value for key, value in parsed.selector.as_dict().items() if key in arguments}


def split_spec(spec: str) -> tuple[str, list[str]]:
    """The name of a selector, and its arguments as they were written.

    Args:
        spec: Selector as text, as in `rrd:k=8,gamma=0.5`.

    Example:
        >>> split_spec("rrd:k=8,gamma=0.5")
        ('rrd', ['k=8', 'gamma=0.5'])
    """
    name, _, given = spec.partition(":")
    return name, _split(given) if given else []


def _split(text: str) -> list[str]:
    """Parts between the commas that stand in no brackets."""
    parts: list[str] = []
    for piece in text.split(","):
        if parts and sum(map(parts[-1].count, "[{")) > sum(map(parts[-1].count, "]}")):
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def class_path(cls: type) -> str:
    """Where a class can be imported from; dynsel's own selectors in their short form.

    Args:
        cls: Any class of a module.
    """
    if SELECTORS.get(cls.__name__.lower()) is cls:
        return f"dynsel.selectors.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def selector_config(cls: type[Selector], arguments: dict[str, Any] | None = None) -> Namespace:
    """A selector with its arguments, as a parser of jsonargparse would have it from a YAML file.

    Args:
        cls: Class of the selector.
        arguments: Keyword arguments of the selector; None for none.
    """
    init_args = Namespace(**(arguments or {}))  # type: ignore[no-untyped-call]
    return Namespace(class_path=class_path(cls), init_args=init_args)  # type: ignore[no-untyped-call]


def parse_value(text: str) -> Any:
    """A number, true, false, null or anything else in JSON; or else the text itself.

    Args:
        text: Value as it was written.

    Example:
        >>> parse_value("0.5"), parse_value(".5"), parse_value("class")
        (0.5, 0.5, 'class')
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        number = float(text)  # JSON has no .5
    except ValueError:
        return text
    return number if math.isfinite(number) else text
