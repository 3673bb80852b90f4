"""The factors that an autoencoder found in features: by the images that activate them, and how often they occur."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from dynsel._lib.figures import BLUE, ORANGE, TEXT, Array, new_figure, plain_axes, plain_text
from dynsel._lib.sheets import pixels
from dynsel.features._items import get_items, input_of
from dynsel.sae import SparseCodes

__all__ = ["factor_figure", "frequency_figure"]


def factor_figure(
    codes: SparseCodes,
    dataset: Any,
    labels: Array | None = None,
    classes: list[str] | None = None,
    *,
    rows: int = 8,
    columns: int = 10,
) -> Figure:
    """For the most frequent and the rarest factors, a row of the images that activate each most.

    The rarest are those of the factors that at least `columns` images activate.

    Args:
        codes: Sparse codes of all images of the data set.
        dataset: Map-style data set of images, alone, first in a tuple, or under a key.
        labels: (N,) class codes, for the share of each factor's commonest class.
        classes: Names of the classes; None calls them by their codes.
        rows: Number of factors of each kind.
        columns: Number of images of a factor.

    Raises:
        ValueError: If codes and data set are of different length, or too few images share a factor.
    """
    if len(codes) != len(dataset):
        raise ValueError(f"codes are of {len(codes)} samples, the data set has {len(dataset)}")
    frequency = codes.frequency()
    order = torch.argsort(frequency, descending=True, stable=True)
    usable = order[frequency[order] * len(codes) >= columns]
    rows = min(rows, len(usable) // 2)
    if not rows:
        raise ValueError(
            f"fewer than two factors are active on {columns} images or more: fit more epochs or fewer factors"
        )
    figure = new_figure(2.0 + 0.8 * columns, 2 * rows * 0.84 + 1.3)
    halves: Any = figure.subfigures(2, 1, hspace=0.02)
    headings = ("most frequent factors", f"rarest factors (of those that at least {columns} images activate)")
    for half, factors, heading in zip(halves, (usable[:rows], usable[-rows:].flip(0)), headings, strict=True):
        half.suptitle(f"{heading}, each by the images that activate it most", fontsize=TEXT, x=0.01, ha="left")
        panels = half.subplots(rows, columns + 1, squeeze=False, width_ratios=[2.2, *[1] * columns])
        for line, factor in zip(panels, factors.tolist(), strict=True):
            _factor_row(line, codes, factor, float(frequency[factor]), dataset, labels, classes)
    return figure


def _factor_row(
    line: Array,
    codes: SparseCodes,
    factor: int,
    frequency: float,
    dataset: Any,
    labels: Array | None,
    classes: list[str] | None,
) -> None:
    active = (codes.indices == factor) & (codes.values > 0)
    samples = active.any(1).nonzero()[:, 0]
    strength = torch.where(active[samples], codes.values[samples].float(), 0.0).sum(1)
    best = samples[strength.argsort(descending=True, stable=True)[: len(line) - 1]].tolist()
    text = f"factor {factor}\n{_share(frequency)} of images"
    if labels is not None:
        found, counts = np.unique(labels[samples.numpy()], return_counts=True)
        top = int(found[counts.argmax()])
        name = str(classes[top]) if classes else f"class {top}"
        text += f"\n{100 * counts.max() / counts.sum():.0f} % of them {plain_text(name[:14])}"
    for axes in line:
        axes.set_axis_off()
    line[0].text(1.0, 0.5, text, fontsize=8, ha="right", va="center", transform=line[0].transAxes)
    for axes, item in zip(line[1:], get_items(dataset, best), strict=False):
        axes.imshow(pixels(input_of(item)), interpolation="nearest")


def _share(frequency: float) -> str:
    return f"{100 * frequency:.3g} %"


def frequency_figure(frequency: Tensor, *, fvu: float | None = None) -> Figure:
    """How many factors occur how often, on a logarithmic axis; dead ones are told in the title.

    Args:
        frequency: (m,) share of the samples that activate each factor.
        fvu: Fraction of variance unexplained, for the title.
    """
    values = frequency.double().numpy()
    alive = values[values > 0]
    figure = new_figure(7.5, 4.0)
    axes = figure.add_subplot()
    if len(alive):
        edges = np.geomspace(alive.min() / 1.05, min(1.0, alive.max() * 1.05), 41)
        axes.hist(alive, edges.tolist(), color=BLUE, rwidth=0.92)
        median = float(np.median(alive))
        axes.axvline(median, color=ORANGE, linewidth=1.5)
        axes.annotate(
            f" median {_share(median)}", (median, 0.97), xycoords=("data", "axes fraction"), color=ORANGE, va="top"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _share(x)))
    said = [f"{len(values):,} factors, {100 * (1 - len(alive) / len(values)):.1f} % of them dead"]
    said += [] if fvu is None else [f"fraction of variance unexplained {fvu:.4f}"]
    axes.set_title("how often the factors occur\n" + ", ".join(said), fontsize=TEXT, loc="left")
    axes.set_xlabel("share of the samples that activate the factor")
    axes.set_ylabel("factors")
    plain_axes(axes)
    return figure
