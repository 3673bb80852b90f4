"""Objects as the call that makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["call_text", "differing_arguments"]

# A longer value says what it is instead.
LONGEST = 80


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """An object as the call that makes it, as in "Linear(start=1.0, end=0.5)".

    Args:
        name: Name of the class that is called.
        arguments: Values by parameter; one longer than 80 characters is told by its type, as in "<dict>".
    """
    return f"{name}({', '.join(f'{key}={_short(value)}' for key, value in arguments.items())})"


def differing_arguments(thing: Any, plain: Callable[[Any], Any] = lambda value: value) -> dict[str, Any]:
    """The parameters of an object's class whose attributes of the same name aren't the default.

    Args:
        thing: Any object; parameters that it keeps under another name are left out.
        plain: Turns an attribute into what a user gives for it.
    """
    found = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        if name not in (attributes := {**vars(type(thing)), **vars(thing)}):
            continue
        value = plain(attributes[name])
        if parameter.default is inspect.Parameter.empty or repr(value) != repr(parameter.default):
            found[name] = value
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST and "\n" not in text else f"<{type(value).__name__}>"
