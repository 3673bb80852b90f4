"""How many steps each selector gets."""

from __future__ import annotations

from dynsel.compare import RunRecord
from dynsel.compare.queue import equal_lengths


def test_equal_lengths_by_hand() -> None:
    first = {"samples": 100, "steps": 1000, "seconds": 8.0}
    runs = [
        RunRecord("a", 0, **first),
        RunRecord("b", 0, **{**first, "samples": 80}, selection_seconds=2.0),
        RunRecord("b", 1, **first),  # only the first finished seed decides
        RunRecord("c", 0, error="failed"),
        RunRecord("d", 0, **first, selection_seconds=7.9999),
        RunRecord("e", 0, **first, selection_seconds=0.079),
        RunRecord("f", 0, **first, selection_seconds=0.08),
    ]
    assert equal_lengths(runs, "seconds") == {"a": 1000, "b": 750, "d": 1, "e": 1000, "f": 990}
    assert equal_lengths(runs, "samples") == {"a": 1000, "b": 1250, "d": 1000, "e": 1000, "f": 1000}
