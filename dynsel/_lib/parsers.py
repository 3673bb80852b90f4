"""What differs between versions of jsonargparse, and what it doesn't check."""

from __future__ import annotations

import inspect
import operator
from functools import reduce
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jsonargparse
import yaml  # type: ignore[import-untyped]

__all__ = ["instantiate", "integers_first", "limit_aliases"]

# A configuration of a thousand times a usual one's size; each value takes jsonargparse some 50 microseconds.
_MOST_VALUES = 100_000


def instantiate(parser: Any, config: Any) -> Any:
    """Make the objects that a configuration describes.

    Args:
        parser: A jsonargparse parser: before 4.49 the method is called `instantiate_classes`, since then `instantiate`.
        config: What it parsed.

    Returns:
        The configuration, with objects in the places of their descriptions.
    """
    name = "instantiate" if hasattr(parser, "instantiate") else "instantiate_classes"
    return getattr(parser, name)(config)


def integers_first(kind: type) -> None:
    """Let jsonargparse read a whole number as one where an argument may be either: 1.0 is all of the batches, 1 is one.

    It tries the members of a union in their order, and of `Union[int, float]` Python hands out the union of both that
    was made first in the process, by whatever library in whatever order. This changes the annotations of the class, in
    this process.

    Args:
        kind: A class whose constructor's arguments will be parsed, such as Lightning's Trainer; annotations that are
            text are left alone.
    """
    annotations = inspect.unwrap(kind.__init__).__annotations__  # type: ignore[misc]
    for name, annotation in annotations.items():
        members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
        if int in members and float in members:
            annotations[name] = reduce(operator.or_, sorted(members, key=lambda member: member is not int))


def limit_aliases() -> None:
    """Let jsonargparse refuse YAML whose aliases stand for very many values: a few lines would take hours and memory.

    It changes the loader of this process, once.
    """
    jsonargparse.set_loader("yaml", _load, exceptions=(yaml.YAMLError,))


_usual_load = jsonargparse.get_loader("yaml")


def _load(text: str) -> Any:
    _check_aliases(text)
    return _usual_load(text)


def _check_aliases(text: str) -> None:
    """Count what a text stands for with every alias written out.

    Raises:
        ValueError: If these are more values than any configuration has.
    """
    if "*" not in text or "&" not in text:
        return
    total = 0
    sizes: dict[str | None, int] = {}
    begun: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = begun.pop()
            sizes[anchor] = total - start
        if total > _MOST_VALUES:
            raise ValueError(
                f"a configuration must hold at most {_MOST_VALUES:,} values: its aliases (&x, *x) stand for more;"
                " write it without them"
            )
