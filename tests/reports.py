"""Runs as a comparison leaves them, made up, for the tests of its tables and its report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats as oracle

from dynsel.compare import RunRecord
from dynsel.compare.record import CurvePoint
from dynsel.compare.table import Table
from dynsel.data import TensorImages

N = 60
MANY = ("full", "random", "rrd", *(f"selector_{i}" for i in range(15)), "my.package.of.mine.Selector", "$a_$b", "_mine")
CONFIG = """
seed_everything: 3
threads: 1
model:
  class_path: dynsel.models.ImageClassifier
  init_args: {architecture: small_cnn, in_channels: 1, width: 4, augment: false}
data:
  class_path: dynsel.data.DigitsDataModule
  init_args: {batch_size: 60, test_share: 0.8}
selection:
  selector: {class_path: dynsel.selectors.Random, init_args: {class_balance: true}}
  keep_ratio: 0.5
trainer:
  max_epochs: 4
  accelerator: cpu
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: checkpoints}
    - class_path: lightning.pytorch.callbacks.LearningRateMonitor
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val_loss, patience: 0}
"""


# 359 images in batches of 60, over four epochs.
STEPS = 4 * 6


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


def record(name: str, seed: int, value: float, **rest: Any) -> RunRecord:
    """A run of ten steps and 2 s, 0.5 s of which chose."""
    curve = [CurvePoint(5, 50, 1.0, value / 2), CurvePoint(10, 100, 2.0, value)]
    times: dict[str, Any] = {"fit_seconds": 0.3, "data_seconds": 0.7, "evaluation_seconds": 0.2}
    return RunRecord(name, seed, value, 0.4, 100, 10, 2.0, 0.5, curve, [1.0, 0.9], [1, 2, 3], **(times | rest))


VALUES = {
    "random": (0.80, 0.84, 0.82),
    "full": (0.79, 0.84, 0.83),
    "rrd": (0.83, 0.85, 0.87),
    "hybrid": (0.86, 0.90, 0.885),
}


def all_records(values: dict[str, tuple[float, ...]]) -> list[RunRecord]:
    """A run for each value; its place is the seed."""
    return [record(name, seed, v) for name, of_seeds in values.items() for seed, v in enumerate(of_seeds)]


def lines(table: Table) -> dict[str, list[str]]:
    """Cells of a table by the first one of their row."""
    return {row[0]: row[1:] for row in table.rows}


def curve(*values: float) -> list[CurvePoint]:
    """An evaluation after each ten steps."""
    return [CurvePoint(10 * i, 100 * i, float(i), value) for i, value in enumerate(values, start=1)]


def half(values: list[float]) -> float:
    """Half the 95 % confidence interval of a mean, by scipy."""
    low, high = oracle.t.interval(0.95, len(values) - 1, loc=mean(values), scale=oracle.sem(values))
    return float(high - low) / 2


def fits_the_page(figure: Figure) -> bool:
    """Whether everything drawn, text above all, ends within the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return bool(drawn.x0 > -0.01 and drawn.y0 > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01)
