"""What is listened to, for people and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Heard", "Rule"]


class Rule(IntEnum):
    """The chain, the most exact rule first."""

    TOLD = 1
    LOSSES = 2
    ROWS = 3
    REDUCTIONS = 4
    NORMS = 5
    BATCH = 6


@dataclass(frozen=True)
class Heard:
    """Where the numbers of a training's samples come from; prints as one line.

    Attributes:
        rule: By which rule the losses are found; None before the first batch.
        losses: What they are made of.
        value: What the selector's `measure` is given; empty where it measures nothing.
    """

    rule: Rule | None = None
    losses: str = ""
    value: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (self.losses, self.value) if part)
