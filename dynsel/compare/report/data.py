"""The numbers behind the pictures, as CSV has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from dynsel._lib.figures import Array
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.table import Table
from dynsel.usage import gini

__all__ = [
    "PARTS",
    "balance_data",
    "curve_data",
    "mean_of",
    "overlap_data",
    "overlaps",
    "time_data",
    "time_parts",
    "usage_data",
    "usage_table",
    "value_data",
    "wrong_data",
]

PARTS = ("training", "waiting for data", "selection", "fitting")

Rows = list[dict[str, Any]]


def mean_of(runs: Sequence[RunRecord], name: str) -> float:
    """Mean of a number over runs.

    Args:
        runs: Finished runs, at least one.
        name: Name of an attribute of `RunRecord`.
    """
    return float(np.mean([getattr(run, name) for run in runs]))


def curve_data(records: Sequence[RunRecord], metric: str) -> Rows:
    """Every evaluation of every run.

    Args:
        records: Finished runs.
        metric: Name of the metric, which its column is called by.
    """
    return [
        {
            "selector": run.selector,
            "seed": run.seed,
            "step": point.step,
            "samples": point.samples,
            "seconds": point.seconds,
            metric: point.value,
        }
        for run in records
        for point in run.curve
    ]


def value_data(records: Sequence[RunRecord], metric: str) -> Rows:
    """The metric after the last step of every run.

    Args:
        records: Finished runs.
        metric: Name of the metric, which its column is called by.
    """
    return [{"selector": run.selector, "seed": run.seed, metric: run.value} for run in records]


def balance_data(records: Sequence[RunRecord]) -> Rows:
    """Class balance of every epoch of every run.

    Args:
        records: Finished runs.
    """
    return [
        {"selector": run.selector, "seed": run.seed, "epoch": epoch, "class_balance": value}
        for run in records
        for epoch, value in enumerate(run.class_balance, start=1)
    ]


def time_parts(runs: Sequence[RunRecord]) -> list[float]:
    """Mean seconds of each of `PARTS`; together they are the time of a run.

    Args:
        runs: Finished runs of one selector.
    """
    total, data = mean_of(runs, "seconds"), mean_of(runs, "data_seconds")
    selection, fit = mean_of(runs, "selection_seconds"), mean_of(runs, "fit_seconds")
    return [max(0.0, total - data - selection), data, max(0.0, selection - fit), fit]


def time_data(records: Sequence[RunRecord]) -> Rows:
    """Mean seconds of each of `PARTS`, one row per selector.

    Args:
        records: Finished runs.
    """
    return [
        {"selector": name, **dict(zip([f"{part} s" for part in PARTS], time_parts(runs), strict=True))}
        for name, runs in by_selector(records).items()
    ]


def usage_data(records: Sequence[RunRecord]) -> Rows:
    """Share of the samples by how often they were trained on, over all seeds.

    Args:
        records: Finished runs that know their usage.
    """
    rows: Rows = []
    for name, runs in by_selector(records).items():
        uses, counts = np.unique(np.concatenate([run.usage for run in runs]), return_counts=True)
        shares = counts / counts.sum()
        rows += [
            {"selector": name, "times_trained_on": int(use), "share": float(share)}
            for use, share in zip(uses, shares, strict=True)
        ]
    return rows


def usage_table(records: Sequence[RunRecord], names: dict[str, str]) -> Table:
    """How often samples were used, in a few numbers per selector.

    Args:
        records: Finished runs that know their usage.
        names: Label of each selector by its name.
    """
    rows = []
    for name, runs in by_selector(records).items():
        usage = [torch.tensor(run.usage) for run in runs]
        never = np.mean([float((u == 0).double().mean()) for u in usage])
        mean, most = np.mean([float(u.double().mean()) for u in usage]), max(int(u.max()) for u in usage)
        unequal = np.mean([gini(u) for u in usage])
        rows.append([names[name], f"{100 * never:.1f}", f"{unequal:.3f}", f"{mean:.1f}", f"{most:,}"])
    headings = ["selector", "never used %", "Gini", "mean uses", "most uses"]
    return Table("use of the samples: mean over seeds, most uses of all seeds", headings, rows)


def overlaps(records: Sequence[RunRecord]) -> tuple[list[str], Array]:
    """Share of training in common: sum over the samples of min(p_a, p_b), p_a a sample's share of all uses by a.

    Two selectors are compared seed by seed; a selector with itself between its seeds, which tells how much of a
    difference to others is chance.

    Args:
        records: Finished runs on one data set.

    Returns:
        Names of the S selectors, and (S, S) means in [0, 1]; NaN where there is no pair.
    """
    shares: dict[str, dict[int, Array]] = {}
    for run in records:
        usage = np.asarray(run.usage, dtype=np.float64)
        shares.setdefault(run.selector, {})[run.seed] = usage / max(usage.sum(), 1.0)
    names = list(shares)
    found = np.full((len(names), len(names)), np.nan)
    for i, a in enumerate(names):
        for j, b in enumerate(names[: i + 1]):
            common = [float(np.minimum(p, q).sum()) for p, q in _pairs(shares[a], shares[b])]
            found[i, j] = found[j, i] = np.mean(common) if common else np.nan
    return names, found


def _pairs(a: dict[int, Array], b: dict[int, Array]) -> Iterator[tuple[Array, Array]]:
    if a is b:
        yield from combinations(a.values(), 2)
    else:
        yield from ((a[seed], b[seed]) for seed in a if seed in b)


def overlap_data(records: Sequence[RunRecord]) -> Rows:
    """What each two selectors have in common, one row per ordered pair.

    Args:
        records: Finished runs on one data set.
    """
    names, shares = overlaps(records)
    return [
        {"selector": a, "other": b, "overlap": "" if np.isnan(shares[i, j]) else float(shares[i, j])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]


def wrong_data(records: Sequence[RunRecord]) -> Rows:
    """Share of wrong labels among what each run trained on.

    Args:
        records: Finished runs.
    """
    return [{"selector": run.selector, "seed": run.seed, "wrong_share": run.wrong_share} for run in records]
