"""A line of a comparison as text: a selector, and what of its training differs from the configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dynsel._lib.checks import check_number
from dynsel.samplers.planning import DEFAULT_KEEP_RATIO
from dynsel.selectors import Full, Random, RandomInBatch, Selector
from dynsel.selectors.spec import find_selector, parse_selector, parse_value, split_spec

__all__ = [
    "DEFAULTS",
    "RANDOM",
    "Configured",
    "Entry",
    "Method",
    "baselines_of",
    "method_of",
    "parse_entry",
    "training_apart",
]

# Arguments of the callback that a selector may be given in a comparison, as if they were its own.
OF_TRAINING = ("budget", "keep_ratio")
# What takes random samples, whatever its arguments.
RANDOM = (Random, RandomInBatch)


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


class Configured(NamedTuple):
    """How a configuration trains an entry that says nothing of it.

    Attributes:
        budget: Share of full data's optimiser steps, in (0, 1].
        keep_ratio: Share of the data that a selection holds, in (0, 1]; a text stands for a schedule; None for what the
            callback does without one.
    """

    budget: float = 1.0
    keep_ratio: float | str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Configured:
        """Of the settings of a comparison.

        Args:
            settings: Flat settings, as `Store.settings` has them.
        """
        schedule = settings.get("selection.keep_ratio.class_path")
        return cls(settings.get("selection.budget", 1.0), settings.get("selection.keep_ratio", schedule))


# A configuration that says neither.
DEFAULTS = Configured()


class Method(NamedTuple):
    """What an entry trains, however it was written: entries of one method are equal.

    Attributes:
        selector: Class of the selector; its name where that can't be imported, or stands beside this comparison.
        arguments: Arguments of its own that were given.
        budget: Share of full data's optimiser steps, in (0, 1].
        keep_ratio: Share of the data that a selection holds, in (0, 1], or the name of a schedule.
    """

    selector: type[Selector] | str
    arguments: dict[str, Any]
    budget: float
    keep_ratio: float | str


def method_of(text: str, configured: Configured = DEFAULTS) -> Method:
    """What an entry trains.

    Args:
        text: Entry of a comparison.
        configured: How the configuration trains entries that say nothing of it.

    Example:
        >>> method_of("rrd:k=8.0,budget=.70") == method_of("rrd:keep_ratio=0.5,budget=0.7,k=8")
        True
    """
    selector, given = training_apart(text)
    name, parts = split_spec(selector)
    try:
        cls: type[Selector] | str = find_selector(name)
    except ValueError:
        cls = name
    arguments = {key: parse_value(value) for key, _, value in (part.partition("=") for part in parts)}
    if cls is Full:  # takes every sample, and all steps unless it is given a budget itself
        configured, given = Configured(keep_ratio=1.0), {key: given[key] for key in given if key == "budget"}
    budget, ratio = (parse_value(given[key]) if key in given else getattr(configured, key) for key in OF_TRAINING)
    return Method(cls, arguments, budget, min(DEFAULT_KEEP_RATIO, budget) if ratio is None else ratio)


def baselines_of(names: Sequence[str], baseline: str, configured: Configured = DEFAULTS) -> dict[str, str]:
    """The entry that each one is compared to: the baseline, trained as that one is.

    Full data has no smaller form: with a budget it is trained for less time, and with a keep ratio it is what it was.
    Random subsets are those of the selector without arguments, or else the only ones there: of the whole data set, or
    else inside the batch.

    Args:
        names: Entries of the comparison.
        baseline: Short name of a baseline, "random" or "full".
        configured: How the configuration trains entries that say nothing of it.

    Returns:
        The baseline's entry by each entry that has one; a baseline is its own.

    Example:
        >>> baselines_of(["rrd:k=8,budget=0.7", "random:budget=.70", "rrd", "full"], "random")
        {'rrd:k=8,budget=0.7': 'random:budget=.70', 'random:budget=.70': 'random:budget=.70'}
    """
    methods = {name: method_of(name, configured) for name in names}
    if baseline == "full":
        whole = [name for name, method in methods.items() if method.selector is Full and method.budget == 1]
        return dict.fromkeys(names, whole[0]) if whole else {}
    found = {}
    for name in names:
        given = [f"{key}={value}" for key, value in training_apart(name)[1].items()]
        plain = method_of(_joined("random", given), configured)
        alike = {other: method for other, method in methods.items() if method[2:] == plain[2:]}
        if random := _random_among(alike):
            found[name] = random
    return found


def _random_among(methods: Mapping[str, Method]) -> str | None:
    for kind in RANDOM:
        found = [name for name, method in methods.items() if method.selector is kind]
        plain = [name for name in found if not methods[name].arguments]
        if found:
            return plain[0] if plain else found[0] if len(found) == 1 else None
    return None


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
