"""What a dotted name in a configuration stands for."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["find_by_path"]


def find_by_path(path: str, name: str) -> Any:
    """Import the class or function of a dotted path; its module's code runs, so a configuration is code.

    Args:
        path: As in "my_package.my_module.MyClass".
        name: How the message calls the argument that holds the path.

    Raises:
        ValueError: If there is no such module, or nothing of that name in it.

    Example:
        >>> find_by_path("collections.Counter", "model")
        <class 'collections.Counter'>
    """
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`{name}` must be the path of a class or function, got {path!r} ({error})") from error
