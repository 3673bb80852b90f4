"""Pictures of what features find in a data set of images: the factors by their images, and a map of all samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from dynsel._lib.matrices import Matrix
from dynsel.features._items import get_items, input_of
from dynsel.features.extractors.base import as_rgb
from dynsel.sae import SparseCodes

__all__ = ["embed", "factor_figure", "frequency_figure", "load_usage", "map_figure"]

Array = NDArray[Any]

_BLUE, _ORANGE = "#0072B2", "#D55E00"


# ---------------------------------------------------------------- factors
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
        codes: Of all images of the data set.
        dataset: Map-style data set of images, alone, first in a tuple, or under a key.
        labels: (N,) class codes, for the share of each factor's commonest class.
        classes: Their names.
        rows: Factors of each kind.
        columns: Images of a factor.

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
    figure = Figure(figsize=(2.0 + 0.8 * columns, 2 * rows * 0.84 + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, hspace=0.02)
    headings = ("most frequent factors", f"rarest factors (of those that at least {columns} images activate)")
    for half, factors, heading in zip(halves, (usable[:rows], usable[-rows:].flip(0)), headings, strict=True):
        half.suptitle(f"{heading}, each by the images that activate it most", fontsize=11, x=0.01, ha="left")
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
        text += f"\n{100 * counts.max() / counts.sum():.0f} % of them {name[:14]}"
    for axes in line:
        axes.set_axis_off()
    line[0].text(1.0, 0.5, text, fontsize=8, ha="right", va="center", transform=line[0].transAxes)
    for axes, item in zip(line[1:], get_items(dataset, best), strict=False):
        axes.imshow(_pixels(input_of(item)), interpolation="nearest")


def _share(frequency: float) -> str:
    return f"{100 * frequency:.3g} %"


def _pixels(image: Any) -> Array:
    """RGB; what isn't in [0, 1], such as normalised images, is stretched to that range."""
    if isinstance(image, Tensor) and image.is_floating_point():
        image = image.detach().float().cpu()
        low, high = image.min(), image.max()
        if low < 0 or high > 1:
            image = (image - low) / (high - low)
    return np.asarray(as_rgb(image))


# ---------------------------------------------------------------- frequencies
def frequency_figure(frequency: Tensor, *, fvu: float | None = None) -> Figure:
    """How many factors occur how often, on a logarithmic axis; dead ones are told in the title.

    Args:
        frequency: (m,) share of the samples that activate each factor.
        fvu: Fraction of variance unexplained, for the title.
    """
    values = frequency.double().numpy()
    alive = values[values > 0]
    figure = Figure(figsize=(7.5, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if len(alive):
        edges = np.geomspace(alive.min() / 1.05, min(1.0, alive.max() * 1.05), 41)
        axes.hist(alive, edges.tolist(), color=_BLUE, rwidth=0.92)
        median = float(np.median(alive))
        axes.axvline(median, color=_ORANGE, linewidth=1.5)
        axes.annotate(
            f" median {_share(median)}", (median, 0.97), xycoords=("data", "axes fraction"), color=_ORANGE, va="top"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _share(x)))
    said = [f"{len(values):,} factors, {100 * (1 - len(alive) / len(values)):.1f} % of them dead"]
    said += [] if fvu is None else [f"fraction of variance unexplained {fvu:.4f}"]
    axes.set_title("how often the factors occur\n" + ", ".join(said), fontsize=10, loc="left")
    axes.set_xlabel("share of the samples that activate the factor")
    axes.set_ylabel("factors")
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


# ---------------------------------------------------------------- map
def embed(features: Matrix, rows: Array, method: str = "tsne", seed: int = 0) -> Array:
    """Two coordinates for each of some rows: principal components, or t-SNE of the first fifty.

    Args:
        features: (N, d) floating point.
        rows: (M,) ascending rows to place.
        method: "pca" or "tsne".
        seed: Of t-SNE.

    Returns:
        (M, 2) float32.

    Raises:
        ValueError: If the method is unknown.
    """
    from sklearn.decomposition import PCA

    if method not in ("pca", "tsne"):
        raise ValueError(f"the map must be 'pca' or 'tsne', got {method!r}")
    chosen = np.asarray(features[rows], dtype=np.float32)
    width = 2 if method == "pca" else min(50, *chosen.shape)
    reduced = PCA(min(width, *chosen.shape), svd_solver="full").fit_transform(chosen)
    if method == "tsne":
        from sklearn.manifold import TSNE

        reduced = TSNE(perplexity=min(30, (len(rows) - 1) / 3), init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(np.pad(reduced, ((0, 0), (0, 2 - reduced.shape[1]))), dtype=np.float32)


def map_figure(
    places: Array,
    labels: Array | None = None,
    classes: list[str] | None = None,
    usage: Array | None = None,
    *,
    title: str = "",
) -> Figure:
    """The samples as points, coloured by class and by how often they were trained on.

    Args:
        places: (M, 2) coordinates.
        labels: (M,) class codes; None leaves that panel out.
        classes: Their names, written at the middle of each class while they are twenty at most.
        usage: (M,) how often each was trained on; None leaves that panel out.
        title: Above all.
    """
    panels = [name for name, values in (("class", labels), ("usage", usage)) if values is not None] or ["plain"]
    figure = Figure(figsize=(6.2 * len(panels), 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    size = float(np.clip(12_000 / len(places), 1.5, 14))
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_color("0.8")
        if panel == "class":
            assert labels is not None
            _by_class(axes, places, labels, classes, size)
        elif panel == "usage":
            assert usage is not None
            drawn = np.argsort(usage, kind="stable")  # the most used on top
            points = axes.scatter(*places[drawn].T, c=usage[drawn], s=size, cmap="viridis", linewidths=0)
            ticks = MaxNLocator(8, integer=True)
            figure.colorbar(points, ax=axes, shrink=0.8, label="times trained on", ticks=ticks)
            axes.set_title("by usage", fontsize=10, loc="left")
        else:
            axes.scatter(*places.T, s=size, color=_BLUE, linewidths=0)
    return figure


def _by_class(axes: Axes, places: Array, labels: Array, classes: list[str] | None, size: float) -> None:
    from matplotlib import colormaps

    codes = np.unique(labels)
    palette = colormaps["tab10" if len(codes) <= 10 else "tab20" if len(codes) <= 20 else "hsv"]
    colours = palette(np.arange(len(codes)) if len(codes) <= 20 else np.linspace(0, 0.95, len(codes)))
    mixed = np.random.default_rng(0).permutation(len(places))  # else the last class would cover the others
    x, y = places[mixed].T
    axes.scatter(x, y, c=colours[np.searchsorted(codes, labels[mixed])], s=size, linewidths=0)
    axes.set_title(f"by class ({len(codes)})", fontsize=10, loc="left")
    if len(codes) > 20:
        return
    for code, colour in zip(codes, colours, strict=True):
        name = str(classes[int(code)]) if classes else str(code)
        # At the sample nearest to the median: the median itself may lie where none of the class is.
        mine = places[labels == code]
        centre = np.median(mine, axis=0)
        x, y = mine[np.square(mine - centre).sum(1).argmin()]
        outline = [patheffects.withStroke(linewidth=3, foreground="white")]
        dark = tuple(0.75 * channel for channel in colour[:3])
        axes.text(x, y, name[:16], color=dark, ha="center", va="center", weight="bold", size=10, path_effects=outline)


# ---------------------------------------------------------------- usage
def load_usage(path: Path, count: int) -> Array:
    """How often each sample was trained on, from what a run left behind.

    Args:
        path: A checkpoint of a training with `DynamicSelection` (.ckpt), a run of `dynsel compare` (.json), or an
            array (.npy). Nothing is unpickled beyond tensors and plain values.
        count: Number of samples.

    Returns:
        (N,) integers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no usage, or that of another number of samples.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no usage file {path}")
    if path.suffix == ".npy":
        usage: Any = np.load(path, allow_pickle=False)
    elif path.suffix == ".json":
        usage = _find(json.loads(path.read_text()))
    elif path.suffix == ".ckpt":
        usage = _find(torch.load(path, map_location="cpu", weights_only=True))
    else:
        raise ValueError(f"usage must be a .ckpt, .json or .npy file, got {path.name!r}")
    if usage is None:
        raise ValueError(f"{path} holds no `usage`: it is of no training with a selection")
    array = np.asarray(usage)
    if array.shape != (count,):
        raise ValueError(
            f"{path} holds the usage of {array.shape[0] if array.ndim else 0} samples, the features have {count}"
        )
    return array


def _find(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return None
    if isinstance(tree.get("usage"), Tensor | list):
        return tree["usage"]
    return next((found for value in tree.values() if (found := _find(value)) is not None), None)
