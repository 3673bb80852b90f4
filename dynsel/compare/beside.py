"""Runs of another comparison, whose settings are others, in the tables of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dynsel.compare.queue import equal_lengths
from dynsel.compare.record import RunRecord
from dynsel.compare.store import Store

__all__ = ["runs_beside"]


def runs_beside(
    folder: Path, store: Store, seeds: Sequence[int], equal: str, num_samples: int | None
) -> list[RunRecord]:
    """The finished runs of another comparison, each selector named with its folder, as in "two-stages/hybrid".

    Args:
        folder: Folder of the other comparison (its `--out`).
        store: Folder of the comparison in whose tables the runs shall stand.
        seeds: Seeds whose runs are wanted.
        equal: What is equal for all selectors: "steps" or "seconds".
        num_samples: Size of this comparison's training set; None where it isn't known, and then it isn't checked.

    Raises:
        FileNotFoundError: If the folder holds no comparison, no finished run, or lacks that of a seed.
        ValueError: If it is of another metric, other steps or other data: such numbers don't compare.
    """
    other = Store.stored(folder)
    own = other.lengths()
    if not own:
        raise FileNotFoundError(f"{folder} holds no finished run; first finish that comparison")
    records = [_load(other, name, seed, own[name]) for seed in seeds for name in own]
    if equal == "seconds":
        lengths = equal_lengths(records, equal)
        records = [_load(other, run.selector, run.seed, lengths[run.selector]) for run in records]
    for what, theirs, ours in [
        ("metric", other.settings["metric"], store.settings["metric"]),
        ("number of optimiser steps", other.steps, store.steps),
        ("number of samples", len(records[0].usage), num_samples),
    ]:
        if ours is not None and theirs != ours:
            raise ValueError(f"{folder} can't stand beside this comparison: its {what} is {theirs}, here it is {ours}")
    return [replace(run, selector=f"{folder.resolve().name}/{run.selector}") for run in records]


def _load(store: Store, selector: str, seed: int, steps: int) -> RunRecord:
    if (record := store.load(selector, seed, steps)) is None:
        raise FileNotFoundError(
            f"{store.path(selector, seed, steps)} is missing; first finish that comparison, with the same `--seeds` "
            "and `--equal` as this one"
        )
    return record
