"""Checks of plain arguments, so that every error names the parameter, what was expected and what came."""

from __future__ import annotations

import importlib
import math
import numbers
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "as_tensor",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_keys",
    "check_number",
    "check_numbers",
    "check_path",
    "check_seed",
    "check_sized",
    "check_tensor",
    "check_text",
    "import_by_path",
]


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    what: str = "a number",
    why: str = "",
) -> float:
    """A finite number within bounds, as a plain float.

    Args:
        name: The parameter, as its user writes it.
        value: Any real number, numpy's scalars included; no bool, no text.
        at_least: Lowest value that is allowed.
        above: Value that it must exceed.
        at_most: Highest value that is allowed.
        below: Value that it must stay under.
        what: What is expected, for the error about anything that is no number.
        why: What the parameter means or which value is usual, appended to the error.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not finite, or out of bounds.

    Example:
        >>> check_number("drop", 1.5, at_least=0, below=1)
        Traceback (most recent call last):
            ...
        ValueError: `drop` must be in [0, 1), got 1.5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be {what}, got {value!r}{_because(why)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (at_least <= number <= at_most and above < number < below and math.isfinite(number)):
        wanted = _interval(at_least, above, at_most, below, finite=not math.isfinite(number))
        raise ValueError(f"`{name}` must be {wanted}, got {value}{_because(why)}")
    return number


def check_integer(
    name: str, value: Any, *, at_least: float = -math.inf, at_most: float = math.inf, why: str = ""
) -> int:
    """A whole number within bounds, as a plain int.

    Args:
        name: The parameter, as its user writes it.
        value: An int or one of numpy's; no bool, no text, no float.
        at_least: Lowest value that is allowed.
        at_most: Highest value that is allowed.
        why: What the parameter means or which value is usual, appended to the error.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}{_because(why)}")
    number = int(value)
    if not at_least <= number <= at_most:
        wanted = _interval(at_least, -math.inf, at_most, math.inf, finite=False)
        raise ValueError(f"`{name}` must be {wanted}, got {number}{_because(why)}")
    return number


def check_seed(name: str, value: Any, *, at_most: int = 2**63 - 1) -> int:
    """A seed: a whole number from 0, as a plain int.

    Args:
        name: The parameter, as its user writes it.
        value: An int or one of numpy's.
        at_most: Highest value that its generator takes.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is out of bounds.
    """
    return check_integer(name, value, at_least=0, at_most=at_most)


def check_numbers(name: str, values: Any, **bounds: Any) -> list[float]:
    """Several finite numbers within bounds, as plain floats.

    Args:
        name: The parameter, as its user writes it.
        values: A list, a tuple or a one-dimensional array.
        **bounds: Bounds of each number, as of `check_number`.

    Raises:
        TypeError: If it is no such list, or holds something else than numbers.
        ValueError: If one is not finite, or out of bounds.
    """
    if isinstance(values, np.ndarray | Tensor):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise TypeError(f"`{name}` must be a list of numbers, got {values!r}")
    return [check_number(name, value, **bounds) for value in values]


def check_tensor(name: str, value: Any, what: str = "a tensor") -> Tensor:
    """A tensor, of any shape and dtype.

    Args:
        name: The parameter, as its user writes it.
        value: What the user gave for it.
        what: What is expected, for the error.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be {what}, got {value if isinstance(value, str) else type(value).__name__!r}")
    return value


def as_tensor(name: str, value: Any, what: str) -> Tensor:
    """Numbers as a tensor on the CPU, of any shape.

    Args:
        name: The parameter, as its user writes it.
        value: A tensor, an array, a list or range of numbers, or the path of an `.npy` file.
        what: What is expected, for the error.

    Returns:
        A tensor without gradient, of the dtype that torch gives these values.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is anything else.
        ValueError: If the file is damaged.
    """
    if isinstance(value, str | Path):
        path = check_path(name, value)
        if not path.is_file():
            raise FileNotFoundError(f"`{name}` must be {what}, or an .npy file of them: there is no {str(path)!r}")
        try:
            value = np.load(path, allow_pickle=False)
        except Exception as error:  # of the disk, NumPy, or Python's tokenizer, which reads the header
            raise ValueError(f"`{name}`: {path} is no .npy file of numbers, or damaged; write it again") from error
    if isinstance(value, range):
        value = list(value)
    if isinstance(value, Tensor | np.ndarray | list | tuple):
        try:
            return torch.as_tensor(value).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"`{name}` must be {what}, or an .npy file of them, got {type(value).__name__}")


def check_sized(name: str, value: Any, what: str) -> Any:
    """Something that has a length above 0, such as a data set.

    Args:
        name: The parameter, as its user writes it.
        value: What the user gave for it.
        what: What is expected, for the error.

    Raises:
        TypeError: If it has none, is a class or a text.
        ValueError: If it is empty.
    """
    try:
        length = 0 if isinstance(value, type | str | bytes) else len(value)
    except TypeError:
        length = -1
    if length < 0 or isinstance(value, type | str | bytes):
        raise TypeError(f"`{name}` must be {what}, got {value!r}")
    if not length:
        raise ValueError(f"`{name}` must be {what} with at least one entry: it is empty")
    return value


def check_text(name: str, value: Any, what: str = "a text") -> str:
    """A text.

    Args:
        name: The parameter, as its user writes it.
        value: What the user gave for it.
        what: What is expected, for the error.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be {what}, got {value!r}")
    return value


def check_path(name: str, value: Any) -> Path:
    """A path of a file or folder, which need not be there; `~` is the user's home.

    Args:
        name: The parameter, as its user writes it.
        value: A text or a `pathlib.Path`.

    Raises:
        TypeError: If it is anything else.
        ValueError: If it is empty, or no file system takes it.
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"`{name}` must be a path, got {value!r}")
    if not str(value) or "\0" in str(value):
        raise ValueError(f"`{name}` must be a path, got {value!r}")
    return Path(value).expanduser()


def check_flag(name: str, value: Any) -> bool:
    """True or False, and nothing that Python takes for one of them.

    Args:
        name: The parameter, as its user writes it.
        value: A bool, Python's or NumPy's.

    Raises:
        TypeError: If it is anything else, such as a text.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of several words.

    Args:
        name: The parameter, as its user writes it.
        value: What the user gave for it.
        choices: Words that are allowed.

    Raises:
        ValueError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}, got {value!r}")
    return value


def check_keys(what: str, state: Any, keys: Collection[str], *, optional: Collection[str] = ()) -> None:
    """A state has the keys that this version saves, all of them and no others.

    Args:
        what: Whose state it is, for the error.
        state: State that was loaded.
        keys: Keys that it must have.
        optional: Keys that it may have besides.

    Raises:
        ValueError: If it is no dict, lacks a key, or has one that isn't known.
    """
    if not isinstance(state, dict):
        raise ValueError(f"the state of {what} must be a dict, got {type(state).__name__}: the checkpoint is damaged")
    problems = [f"lacks `{key}`" for key in keys if key not in state]
    problems += [f"has `{key}`, which isn't known" for key in state if key not in keys and key not in optional]
    if problems:
        raise ValueError(
            f"the state of {what} {' and '.join(problems)}: it was saved by another version of dynsel; resume with "
            "that one, or drop the selection's state, which is under DynamicSelection in checkpoint['callbacks']"
        )


def import_by_path(name: str, path: Any) -> Any:
    """The class or function of a path such as `torch.nn.Linear`.

    Args:
        name: The parameter, as its user writes it.
        path: Module and name, joined by a dot.

    Raises:
        TypeError: If it is no text.
        ValueError: If there is no such thing.
    """
    if not isinstance(path, str):
        raise TypeError(f"`{name}` must be a class path as text, got {path!r}")
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`{name}` must be a class path that can be imported, got {path!r} ({error})") from error


def _because(why: str) -> str:
    return f"; {why}" if why else ""


def _interval(at_least: float, above: float, at_most: float, below: float, *, finite: bool) -> str:
    """The bounds in words, or as an interval if there is one at both ends."""
    low, high = max(at_least, above), min(at_most, below)
    if math.isfinite(low) and math.isfinite(high):
        return f"in {'[' if at_least >= low else '('}{low:g}, {high:g}{']' if at_most <= high else ')'}"
    parts = [f"{'at least' if at_least >= low else 'above'} {low:g}"] if math.isfinite(low) else []
    parts += [f"{'at most' if at_most <= high else 'below'} {high:g}"] if math.isfinite(high) else []
    return " and ".join([*parts, "finite"] if finite or not parts else parts)
