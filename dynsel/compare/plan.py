"""What a comparison compares, and where its results go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dynsel.compare.queue import Run
from dynsel.compare.store import Store

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """One call of `dynsel compare`.

    Attributes:
        selectors: Short names or class paths, with arguments where given, each once (see `parse_entry`).
        seeds: Seeds for weights, order and selection.
        metric: Name of the logged validation metric to compare.
        out: Folder of the comparison.
        command: The command line, for the head of the table.
        target: Value of the metric for the table of speeds; None leaves that table out.
        equal: What is equal for all selectors: "steps", "samples" or "seconds".
        energy: Whether to measure the energy of training and selection.
        beside: Folders of finished comparisons whose runs stand in the same tables.
        worth: Whether full data is also trained for other lengths, in which the results are then told.
    """

    selectors: list[str]
    seeds: list[int]
    metric: str
    out: Path
    command: str
    target: float | None = None
    equal: str = "steps"
    energy: bool = False
    beside: tuple[Path, ...] = ()
    worth: bool = False

    @property
    def results(self) -> Path:
        """Folder of the tables and pictures."""
        return self.out if self.equal == "steps" else self.out / f"equal-{self.equal}"

    def runs(self, store: Store, lengths: Mapping[str, int] = MappingProxyType({})) -> list[Run]:
        """Every selector with every seed; the runs of a seed follow one another, so that early rows can be paired.

        Args:
            store: Knows the optimiser steps of the configured training.
            lengths: Optimiser steps of the selectors that take another number of them.
        """
        steps = store.steps or 0
        return [Run(name, seed, lengths.get(name, steps)) for seed in self.seeds for name in self.selectors]

    def runs_of_full_data(self, store: Store, shares: Sequence[float]) -> list[Run]:
        """Full data with every seed and every length, each once.

        Args:
            store: Knows the optimiser steps of the configured training.
            shares: Lengths in units of that training.
        """
        lengths = [max(1, round(share * (store.steps or 0))) for share in shares]
        return list(dict.fromkeys(Run("full", seed, steps) for seed in self.seeds for steps in lengths))
