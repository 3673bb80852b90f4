"""A line of a comparison as text: a selector, and what of its training differs from the configuration."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from dynsel._lib.checks import check_number
from dynsel.selectors import Selector
from dynsel.selectors.spec import find_selector, parse_selector, parse_value, split_spec

__all__ = ["Entry", "baseline_of", "parse_entry", "training_apart"]

# Arguments of the callback that a selector may be given in a comparison, as if they were its own.
OF_TRAINING = ("budget", "keep_ratio")


class Entry(NamedTuple):
    """What `--selectors` names.

    Attributes:
        selector: Class of the selector.
        arguments: Keyword arguments of the selector that were given.
        budget: Share of full data's optimiser steps, in (0, 1]; None leaves it to the configuration.
        keep_ratio: Share of the data that a selection holds, in (0, 1]; None leaves it to the configuration.
    """

    selector: type[Selector]
    arguments: dict[str, Any]
    budget: float | None = None
    keep_ratio: float | None = None


def parse_entry(text: str) -> Entry:
    """Read `NAME` or `NAME:argument=value,...`, where `budget` and `keep_ratio` may stand among the arguments.

    Args:
        text: Selector as text, as in "hybrid:budget=0.7,keep_ratio=0.3".

    Raises:
        ValueError: If the selector or an argument is unknown, or a value is out of range.

    Example:
        >>> entry = parse_entry("random:budget=0.7")
        >>> entry.selector.__name__, entry.budget, entry.keep_ratio
        ('Random', 0.7, None)
    """
    selector, given = training_apart(text)
    cls, arguments = parse_selector(selector)
    numbers = {key: check_number(key, parse_value(value), above=0, at_most=1) for key, value in given.items()}
    return Entry(cls, arguments, **numbers)


def baseline_of(text: str, baseline: str) -> str:
    """The entry that another one is compared to: the baseline, trained as that one is.

    Full data has no smaller form: with a budget it is trained for less time, and with a keep ratio it is what it was.

    Args:
        text: Entry of the comparison.
        baseline: Short name of a baseline, "random" or "full".

    Example:
        >>> baseline_of("rrd:k=8,budget=0.7", "random"), baseline_of("rrd:k=8,budget=0.7", "full")
        ('random:budget=0.7', 'full')
    """
    if baseline == "full":
        return baseline
    return _joined(baseline, [f"{key}={value}" for key, value in training_apart(text)[1].items()])


def training_apart(text: str) -> tuple[str, dict[str, str]]:
    """An entry's selector with its own arguments, and what of its training differs from the configuration.

    Args:
        text: Entry of a comparison.

    Returns:
        The selector as text, and the arguments of the training in one order.

    Example:
        >>> training_apart("rrd:k=8,budget=0.7"), training_apart("full")
        (('rrd:k=8', {'budget': '0.7'}), ('full', {}))
    """
    name, parts = split_spec(text)
    try:
        own = [*inspect.signature(find_selector(name)).parameters]
    except ValueError:  # of a run that was made where its class could be imported
        own = []
    pairs = [part.partition("=")[::2] for part in parts]
    given = {key: dict(pairs)[key] for key in OF_TRAINING if key in dict(pairs) and key not in own}
    kept = [part for part, (key, _) in zip(parts, pairs, strict=True) if key not in given]
    return _joined(name, kept), given


def _joined(name: str, arguments: list[str]) -> str:
    return f"{name}:{','.join(arguments)}" if arguments else name
