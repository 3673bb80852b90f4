"""The factors that an autoencoder found in features: by the images that activate them, and how often they occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from dynsel._lib.figures import BLUE, ORANGE, TEXT, Array, new_figure, plain_axes, plain_text
from dynsel._lib.sheets import class_name, pixels, which
from dynsel.features._items import get_items, input_of
from dynsel.sae import SparseCodes

__all__ = ["Factor", "Samples", "factor_data", "factor_figure", "frequency_figure", "frequent_and_rare"]


@dataclass(frozen=True)
class Samples:
    """What is known of the samples of an atlas.

    Attributes:
        dataset: Map-style data set of N images, alone, first in a tuple, or under a key.
        labels: (N,) class codes; None = not known.
        classes: Names of the classes; None calls them by their codes.
        usage: (N,) number of times that each was trained on; None = not known.
        paths: (N,) where each comes from; None = not known.
    """

    dataset: Any
    labels: Array | None = None
    classes: list[str] | None = None
    usage: Array | None = None
    paths: Sequence[str] | None = None

    def facts(self, index: int) -> dict[str, Any]:
        """What is known of a sample, by heading.

        Args:
            index: Index in the data set.
        """
        return {
            **({} if self.labels is None else {"class": class_name(self, self.labels[index])}),
            **({} if self.usage is None else {"uses": int(self.usage[index])}),
            **({} if self.paths is None else {"path": self.paths[index]}),
        }


@dataclass(frozen=True)
class Factor:
    """A factor of an autoencoder and the samples that activate it.

    Attributes:
        number: Its number, from 0 on.
        frequency: Share of the samples that activate it.
        samples: (n,) int64 indices of all samples that do.
        best: Indices of those to show, the most active first.
        strengths: Their activations.
    """

    number: int
    frequency: float
    samples: Tensor
    best: list[int]
    strengths: list[float]


def frequent_and_rare(codes: SparseCodes, rows: int = 8, columns: int = 10) -> tuple[list[Factor], list[Factor]]:
    """The most frequent and the rarest factors, each in order, of those that at least `columns` samples activate.

    Args:
        codes: Sparse codes of all samples.
        rows: Number of factors of each kind; at most half of all are given.
        columns: Number of samples to show of a factor.

    Raises:
        ValueError: If too few samples share a factor.
    """
    frequency = codes.frequency()
    order = torch.argsort(frequency, descending=True, stable=True)
    usable = order[frequency[order] * len(codes) >= columns]
    rows = min(rows, len(usable) // 2)
    if not rows:
        raise ValueError(
            f"fewer than two factors are active on {columns} images or more: fit more epochs or fewer factors"
        )
    frequent, rare = (
        [_factor(codes, factor, float(frequency[factor]), columns) for factor in chosen.tolist()]
        for chosen in (usable[:rows], usable[-rows:].flip(0))
    )
    return frequent, rare


def _factor(codes: SparseCodes, number: int, frequency: float, columns: int) -> Factor:
    active = (codes.indices == number) & (codes.values > 0)
    samples = active.any(1).nonzero()[:, 0]
    strength = torch.where(active[samples], codes.values[samples].float(), 0.0).sum(1)
    order = strength.argsort(descending=True, stable=True)[:columns]
    return Factor(number, frequency, samples, samples[order].tolist(), strength[order].tolist())


def factor_data(factors: tuple[list[Factor], list[Factor]], samples: Samples) -> list[dict[str, Any]]:
    """The numbers of the picture of factors: a row for each image.

    Args:
        factors: What `frequent_and_rare` gave.
        samples: What is known of the images.
    """
    return [
        {
            "anchor": _anchor(factor, index),
            "index": index,
            "factor": factor.number,
            "share of images": _share(factor.frequency),
            "activation": f"{strength:.3g}",
            **samples.facts(index),
        }
        for kind in factors
        for factor in kind
        for index, strength in zip(factor.best, factor.strengths, strict=True)
    ]


def factor_figure(factors: tuple[list[Factor], list[Factor]], samples: Samples) -> Figure:
    """For the most frequent and the rarest factors, a row of the images that activate each most.

    Above each image stand its index and the end of its path. Its axes have the anchor of `factor_data` as `gid`.

    Args:
        factors: What `frequent_and_rare` gave.
        samples: What is known of the images.
    """
    rows, columns = len(factors[0]), len(factors[0][0].best)
    figure = new_figure(2.0 + 0.8 * columns, 2 * rows * (1.02 if samples.paths is None else 1.16) + 1.3)
    halves: Any = figure.subfigures(2, 1, hspace=0.02)
    headings = ("most frequent factors", f"rarest factors (of those that at least {columns} images activate)")
    for half, kind, heading in zip(halves, factors, headings, strict=True):
        half.suptitle(f"{heading}, each by the images that activate it most", fontsize=TEXT, x=0.01, ha="left")
        panels = half.subplots(rows, columns + 1, squeeze=False, width_ratios=[2.2, *[1] * columns])
        for line, factor in zip(panels, kind, strict=True):
            _factor_row(line, factor, samples)
    return figure


def _factor_row(line: Array, factor: Factor, samples: Samples) -> None:
    for axes in line:
        axes.set_axis_off()
    text = f"factor {factor.number}\n{_share(factor.frequency)} of images"
    if samples.labels is not None:
        found, counts = np.unique(samples.labels[factor.samples.numpy()], return_counts=True)
        top = found[counts.argmax()]
        name = class_name(samples, top) if samples.classes else f"class {top}"
        text += f"\n{100 * counts.max() / counts.sum():.0f} % of them {plain_text(name[:14])}"
    line[0].text(1.0, 0.5, text, fontsize=8, ha="right", va="center", transform=line[0].transAxes)
    for axes, index, item in zip(line[1:], factor.best, get_items(samples.dataset, factor.best), strict=True):
        axes.imshow(pixels(input_of(item)), interpolation="nearest")
        path = "" if samples.paths is None else samples.paths[index]
        axes.set_title(plain_text(which(index, path)), fontsize=7, pad=2)
        axes.set_gid(_anchor(factor, index))


def _anchor(factor: Factor, index: int) -> str:
    return f"{factor.number}-{index}"  # an image may stand for several factors


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
