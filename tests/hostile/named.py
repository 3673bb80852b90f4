"""A selector with a name of the user's."""

from __future__ import annotations

from dynsel.selectors import Random


class Odd(Random):
    """Random, called something.

    Args:
        name: Any text.
        seed: Seed of its draws; None takes the run's seed.
    """

    def __init__(self, *, name: str = "", seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.name = name
