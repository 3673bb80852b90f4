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
from dynsel._lib.sheets import pixels, which
from dynsel.features._items import get_items, input_of
from dynsel.sae import SparseCodes

__all__ = ["Factor", "class_text", "factor_data", "factor_figure", "frequency_figure", "frequent_and_rare"]


@dataclass(frozen=True)
class Factor:
    """A factor of an autoencoder and the samples that activate it most.

    Attributes:
        number: Its number, from 0 on.
        frequency: Share of the samples that activate it.
        samples: Indices of all samples that do, the most active first.
        strengths: Their activations.
    """

    number: int
    frequency: float
    samples: list[int]
    strengths: list[float]


def frequent_and_rare(codes: SparseCodes, rows: int = 8, columns: int = 10) -> tuple[list[Factor], list[Factor]]:
    """The most frequent and the rarest factors, each in order, of those that at least `columns` samples activate.

    Args:
        codes: Sparse codes of all samples.
        rows: Number of factors of each kind; at most half of all are given.
        columns: Number of samples that are to be shown of a factor.

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
        [_factor(codes, factor, float(frequency[factor])) for factor in chosen.tolist()]
        for chosen in (usable[:rows], usable[-rows:].flip(0))
    )
    return frequent, rare


def _factor(codes: SparseCodes, number: int, frequency: float) -> Factor:
    active = (codes.indices == number) & (codes.values > 0)
    samples = active.any(1).nonzero()[:, 0]
    strength = torch.where(active[samples], codes.values[samples].float(), 0.0).sum(1)
    order = strength.argsort(descending=True, stable=True)
    return Factor(number, frequency, samples[order].tolist(), strength[order].tolist())


def factor_data(
    factors: tuple[list[Factor], list[Factor]],
    columns: int = 10,
    *,
    labels: Array | None = None,
    classes: list[str] | None = None,
    usage: Array | None = None,
    paths: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The numbers of the picture of factors: a row for each image.

    Args:
        factors: What `frequent_and_rare` gave.
        columns: Number of images of a factor.
        labels: (N,) class codes; None leaves the class out.
        classes: Names of the classes; None calls them by their codes.
        usage: (N,) number of times that each image was used; None leaves it out.
        paths: (N,) where each image comes from; None = not known.
    """
    return [
        {
            "anchor": _anchor(factor, index),
            "index": index,
            "factor": factor.number,
            "share of images": _share(factor.frequency),
            "activation": f"{strength:.3g}",
            **({} if labels is None else {"class": class_text(labels[index], classes)}),
            **({} if usage is None else {"uses": int(usage[index])}),
            **({} if paths is None else {"path": paths[index]}),
        }
        for kind in factors
        for factor in kind
        for index, strength in zip(factor.samples[:columns], factor.strengths, strict=False)
    ]


def factor_figure(
    factors: tuple[list[Factor], list[Factor]],
    dataset: Any,
    labels: Array | None = None,
    classes: list[str] | None = None,
    *,
    columns: int = 10,
    paths: Sequence[str] | None = None,
) -> Figure:
    """For the most frequent and the rarest factors, a row of the images that activate each most.

    Above each image stand its index and the end of its path. Its axes have the anchor of `factor_data` as `gid`.

    Args:
        factors: What `frequent_and_rare` gave.
        dataset: Map-style data set of images, alone, first in a tuple, or under a key.
        labels: (N,) class codes, for the share of each factor's commonest class.
        classes: Names of the classes; None calls them by their codes.
        columns: Number of images of a factor.
        paths: (N,) where each image comes from; None = not known.
    """
    rows = len(factors[0])
    figure = new_figure(2.0 + 0.8 * columns, 2 * rows * (1.02 if paths is None else 1.16) + 1.3)
    halves: Any = figure.subfigures(2, 1, hspace=0.02)
    headings = ("most frequent factors", f"rarest factors (of those that at least {columns} images activate)")
    for half, kind, heading in zip(halves, factors, headings, strict=True):
        half.suptitle(f"{heading}, each by the images that activate it most", fontsize=TEXT, x=0.01, ha="left")
        panels = half.subplots(rows, columns + 1, squeeze=False, width_ratios=[2.2, *[1] * columns])
        for line, factor in zip(panels, kind, strict=True):
            for axes in line:
                axes.set_axis_off()
            text = _factor_text(factor, labels, classes)
            line[0].text(1.0, 0.5, text, fontsize=8, ha="right", va="center", transform=line[0].transAxes)
            shown = factor.samples[:columns]
            for axes, index, item in zip(line[1:], shown, get_items(dataset, shown), strict=False):
                axes.imshow(pixels(input_of(item)), interpolation="nearest")
                axes.set_title(plain_text(which(index, "" if paths is None else paths[index])), fontsize=7, pad=2)
                axes.set_gid(_anchor(factor, index))
    return figure


def _anchor(factor: Factor, index: int) -> str:
    return f"{factor.number}-{index}"  # an image may stand for several factors


def _factor_text(factor: Factor, labels: Array | None, classes: list[str] | None) -> str:
    text = f"factor {factor.number}\n{_share(factor.frequency)} of images"
    if labels is None:
        return text
    found, counts = np.unique(labels[factor.samples], return_counts=True)
    top = found[counts.argmax()]
    name = class_text(top, classes) if classes else f"class {top}"
    return f"{text}\n{100 * counts.max() / counts.sum():.0f} % of them {plain_text(name[:14])}"


def class_text(code: Any, classes: list[str] | None) -> str:
    """A class by its name, or by its code if there are no names.

    Args:
        code: Class code.
        classes: Names of the classes; None = there are none.
    """
    return str(classes[int(code)] if classes else int(code))


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
