"""A subset chosen once, before training, from features alone; and how far it is from the whole set."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix
from dynsel.cfd import (
    cfd,
    characteristic_sums,
    gaussian_frequencies,
    median_scale,
    phase_decoupled,
    random_floor,
    subset_values,
)
from dynsel.schedules import as_keep_ratio, sample_count
from dynsel.selection import random_subsets
from dynsel.selectors import SELECTORS, BatchSelector, CandidateSelector
from dynsel.selectors.spec import find_selector

__all__ = ["coreset_report", "offline_selectors", "select_coreset"]

_FREQUENCIES = 1024


def offline_selectors() -> list[str]:
    """Short names of the selectors that can choose a subset from features alone, without training."""
    return sorted(name for name, selector in SELECTORS.items() if _obstacle(selector()) is None)


def _obstacle(selector: Any) -> str | None:
    """Why a selector can't choose offline."""
    if isinstance(selector, BatchSelector | CandidateSelector):
        return "chooses inside the batches of a training"
    if selector.wants:
        parts = sorted(
            {"value": "logits", "per_sample_loss": "losses", "batch_loss": "losses of batches"}.get(part, part)
            for part in selector.wants
        )
        return f"chooses by {', '.join(parts)}, which only training gives"
    return None if selector.exact else "chooses no given number of samples"


def select_coreset(
    selector: str,
    features: Matrix,
    labels: Tensor | None = None,
    keep_ratio: float = 0.1,
    seed: int = 0,
    **arguments: Any,
) -> Tensor:
    """Choose a subset once, as a selector does before the first epoch.

    Args:
        selector: Short name (`offline_selectors`) or class path of a selector.
        features: (N, d) floating-point tensor, array or memory map.
        labels: (N,) class codes 0 .. C-1 (`dynsel.labels.encode_labels`): every class is then kept in its share.
            Without them all samples are one class.
        keep_ratio: Share of the samples to choose, in (0, 1].
        seed: Seed of the selector, for those that draw.
        **arguments: Keyword arguments of the selector.

    Returns:
        (M,) int64, ascending.

    Raises:
        TypeError: If the selector has no such argument.
        ValueError: If the selector is unknown or can't choose without training, or an argument is out of range.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]])
        >>> select_coreset("k-center", features, keep_ratio=0.4).tolist()
        [2, 4]
    """
    size = sample_count(as_keep_ratio(keep_ratio)(0.0), len(features))
    chooser = find_selector(selector)
    known = inspect.signature(chooser).parameters
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise TypeError(f"{selector} has no argument `{unknown[0]}`; it has {', '.join(known)}")
    given = {"class_balance": labels is not None, "seed": seed}
    made = chooser(**{name: value for name, value in given.items() if name in known} | arguments)
    if why := _obstacle(made):
        raise ValueError(
            f"`selector` must choose without training; {selector} {why}; try {' or '.join(offline_selectors())}"
        )
    made.bind(len(features), labels, seed=seed)
    if made.needs_features:
        made.fit(features)
    return made.select(0.0, size).indices.sort().values


def coreset_report(
    features: Matrix, indices: Tensor, labels: Tensor | None = None, seed: int = 0, repeats: int = 20
) -> dict[str, Any]:
    """How far a subset is from the whole set, beside random subsets of the same size and class shares.

    Characteristic functions are compared at 1,024 Gaussian frequencies of the features' median scale. A share of
    classes that isn't the whole set's shows as distance.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        indices: (M,) int64, the samples of the subset.
        labels: (N,) class codes, or None for subsets of any classes.
        seed: Seed of the frequencies and of the random subsets.
        repeats: Number of random subsets, at least 2.

    Returns:
        Plain numbers: for "cfd" and "pd_cfd" (phase-decoupled) that of the `coreset`; of `random` subsets the mean,
        standard deviation and best; and z, how many standard deviations the coreset is above that mean. `floor` is
        the expected CFD of a random subset of any classes, and `ratio` the coreset's in units of it; class-balanced
        subsets are below 1 by themselves, so it is to be compared with that of their mean.

    Raises:
        ValueError: If `repeats` is below 2.
    """
    if repeats < 2:
        raise ValueError(f"`repeats` must be at least 2, got {repeats}")
    generator = torch.Generator().manual_seed(seed)
    count, size = len(features), len(indices)
    t = gaussian_frequencies(_FREQUENCIES, features.shape[1], median_scale(features, generator), generator)
    value = characteristic_sums(features, t).value()
    members = torch.zeros(1 + repeats, count, dtype=torch.bool)
    members[0, indices] = True
    members[1:] = random_subsets(count, size, repeats, generator, labels)
    values = subset_values(features, t, members)
    floor = random_floor(value, size, count)
    found = {"cfd": cfd(values, value), "pd_cfd": phase_decoupled(values, value, t.to(value.device)).mean(-1)}
    report: dict[str, Any] = {"frequencies": _FREQUENCIES, "random_subsets": repeats, "floor": floor}
    report["ratio"] = float(found["cfd"][0]) / floor if floor else None
    for name, distances in found.items():
        mine, others = float(distances[0]), distances[1:].double()
        mean, spread = float(others.mean()), float(others.std())
        report[name] = {
            "coreset": mine,
            "random": {"mean": mean, "std": spread, "best": float(others.min())},
            "z": (mine - mean) / spread if spread > 0 else None,
        }
    return report
