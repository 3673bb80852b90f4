"""Runs as a comparison leaves them, made up, for the tests of its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dynsel.compare import RunRecord
from dynsel.compare.record import CurvePoint
from dynsel.data import TensorImages

N = 60


def runs(selectors: Sequence[str] = ("full", "random", "rrd"), seeds: int = 3, **rest: Any) -> list[RunRecord]:
    """Selectors other than full and random use samples unequally."""
    rng = np.random.default_rng(0)
    records = []
    for place, name in enumerate(selectors):
        for seed in range(seeds):
            values = 0.9 - 0.6 * np.exp(-np.arange(1, 13) / 3) + rng.normal(0, 0.01, 12)
            curve = [CurvePoint(10 * i, 600 * i, 0.4 * i, float(v)) for i, v in enumerate(values, start=1)]
            usage = np.full(N, 8 + place) if name in ("full", "random") else rng.poisson(8, N)
            balance = (1 - np.abs(rng.normal(0, 0.02, 6))).tolist()
            last = float(values[-1])
            times: dict[str, Any] = {"fit_seconds": 0.25, "data_seconds": 0.5}
            records.append(
                RunRecord(name, seed, last, 0.3, 7200, 120, 5.0, 1.0, curve, balance, usage.tolist(), **(times | rest))
            )
    return records


def images() -> TensorImages:
    """Noise in three classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (N, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return TensorImages(pixels, torch.arange(N) % 3, ["airplane", "automobile", "an unusually long name"])
