"""Which of a fit's train loaders is selected from."""

from __future__ import annotations

from typing import Any

__all__ = ["place_of_loader"]


def place_of_loader(loaders: Any, count: int, key: str | int | None) -> int:
    """The place of that loader.

    Args:
        loaders: What `train_dataloader` gave: one loader, or a collection of them.
        count: Number of loaders in it.
        key: Key or position of the loader; None = the only one.

    Raises:
        ValueError: If there is no such loader, or there are several and nobody says which.

    Example:
        >>> place_of_loader({"a": [1], "b": [2]}, 2, "b")
        1
    """
    if count == 1 and key is None:
        return 0
    names = list(loaders) if isinstance(loaders, dict) and len(loaders) == count else []
    places = [*names, *range(count)]
    if key not in places:
        problem = "several train loaders" if key is None else f"no train loader {key!r}"
        raise ValueError(f"{problem}; say which one to select from by `loader=`, one of {names or places}")
    return places.index(key) % count
