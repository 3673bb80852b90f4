"""Which selector a state is of: its class and the arguments it was given, as a tensor that a checkpoint takes."""

from __future__ import annotations

import inspect
import json
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.schedules import Constant, Schedule

__all__ = ["check_made_by", "described", "packed", "plain"]

# Of the states of selectors; another number means that keys have another meaning.
FORMAT = 1
WAY_OUT = (
    "make it as it was; or, to go on with another one on purpose, drop the selection's state: delete the key that "
    "begins with DynamicSelection from checkpoint['callbacks']"
)


def described(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any], free: frozenset[str]) -> dict[str, Any]:
    """The arguments that a constructor was called with, defaults included, in what JSON knows.

    Args:
        cls: Class whose constructor was called.
        args: Positional arguments.
        kwargs: Keyword arguments.
        free: Arguments that another run may have otherwise.

    Returns:
        By name, without the free ones; nothing where the call doesn't fit, for then the constructor says so.
    """
    try:
        bound = inspect.signature(cls).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    return {name: plain(value) for name, value in bound.arguments.items() if name not in free}


def plain(value: Any) -> Any:
    """A value as JSON has it, so that it can be compared after a restart.

    Args:
        value: Any argument of a selector.

    Returns:
        Numbers, texts, lists of at most 100 entries and dicts, in Python's own types; a constant schedule as its
        number, another one as a dict of its arguments; of anything else the name of its class.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Schedule):
        return {"schedule": type(value).__name__, **{key: plain(item) for key, item in vars(value).items()}}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and len(value) <= 100:
        return [plain(item) for item in value]
    # Of anything else, such as a network or losses of all samples, the kind.
    return value if value is None or isinstance(value, str) else type(value).__name__


def packed(cls: type, arguments: Mapping[str, Any]) -> Tensor:
    """Class and arguments as a tensor, since checkpoints that load with `weights_only=True` hold tensors.

    Args:
        cls: Class of the selector.
        arguments: What `described` said of its arguments.

    Returns:
        (n,) uint8: JSON in UTF-8.
    """
    text = json.dumps({"format": FORMAT, "class": cls.__qualname__, "arguments": dict(arguments)})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def check_made_by(cls: type, arguments: Mapping[str, Any], tensor: Any) -> None:
    """Compare what a state says it is of with the selector that is to take it.

    Args:
        cls: Class of the selector.
        arguments: What `described` said of its arguments.
        tensor: (n,) uint8, what `packed` gave.

    Raises:
        ValueError: If they differ; says in what.
    """
    theirs = _unpacked(tensor)
    if theirs["format"] != FORMAT:
        raise ValueError(
            f"`made_by` of the selector's state has format {theirs['format']!r}, this dynsel reads {FORMAT}: resume "
            "with the dynsel that saved it, or drop the selection's state"
        )
    if theirs["class"] != cls.__qualname__:
        raise ValueError(f"the state is of the selector {theirs['class']}, not of {cls.__qualname__}: {WAY_OUT}")
    there, here = theirs["arguments"], json.loads(json.dumps(dict(arguments)))
    # What only one of them has came or went with another version.
    differing = [name for name in here if name in there and here[name] != there[name]]
    if differing:
        told = [f"{name}={json.dumps(there[name])} instead of {json.dumps(here[name])}" for name in differing]
        raise ValueError(f"the state is of a {cls.__qualname__} with {', '.join(told)}: {WAY_OUT}")


def _unpacked(tensor: Any) -> dict[str, Any]:
    try:
        found = json.loads(bytes(tensor.numpy()).decode())
        if isinstance(found["arguments"], dict) and isinstance(found["class"], str):
            return {"format": found["format"], "class": found["class"], "arguments": found["arguments"]}
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ValueError("`made_by` of the selector's state can't be read: the checkpoint is damaged")
