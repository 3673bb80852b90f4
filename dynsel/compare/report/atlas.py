"""A map of all samples of a data set, coloured by class and by how often they were trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dynsel._lib.array_files import map_array
from dynsel._lib.figures import BLUE, SMALL, TEXT, Array, new_figure, plain_text
from dynsel._lib.matrices import Matrix
from dynsel._lib.messages import first_line

__all__ = ["embed", "load_usage", "map_figure"]


def embed(features: Matrix, rows: Array, method: str = "tsne", seed: int = 0) -> Array:
    """Two coordinates for each of some rows: principal components, or t-SNE of the first fifty.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        rows: (M,) indices of the rows to place, ascending.
        method: "pca" or "tsne".
        seed: Seed for t-SNE.

    Returns:
        (M, 2) float32.

    Raises:
        ValueError: If the method is neither of the two.
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
        places: (M, 2) coordinates of the samples.
        labels: (M,) class codes; None leaves that panel out.
        classes: Names of the classes, in a legend and near the middle of each while there are twenty at most.
        usage: (M,) number of times that each sample was trained on; None leaves that panel out.
        title: Heading of the picture.
    """
    panels = [name for name, values in (("class", labels), ("usage", usage)) if values is not None] or ["plain"]
    figure = new_figure(6.2 * len(panels), 6.2)
    figure.suptitle(title, fontsize=TEXT, x=0.01, ha="left")
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
            axes.set_title("by usage", fontsize=TEXT, loc="left")
        else:
            axes.scatter(*places.T, s=size, color=BLUE, linewidths=0)
    return figure


def _by_class(axes: Axes, places: Array, labels: Array, classes: list[str] | None, size: float) -> None:
    from matplotlib import colormaps

    codes = np.unique(labels)
    palette = colormaps["tab10" if len(codes) <= 10 else "tab20" if len(codes) <= 20 else "hsv"]
    colours = palette(np.arange(len(codes)) if len(codes) <= 20 else np.linspace(0, 0.95, len(codes)))
    mixed = np.random.default_rng(0).permutation(len(places))  # else the last class would cover the others
    x, y = places[mixed].T
    axes.scatter(x, y, c=colours[np.searchsorted(codes, labels[mixed])], s=size, linewidths=0)
    axes.set_title(f"by class ({len(codes)})", fontsize=TEXT, loc="left")
    if len(codes) > 20:
        return
    names = [str(classes[int(code)]) if classes else str(code) for code in codes]
    dots = [
        axes.plot([], [], "o", color=colour, label=plain_text(name[:24]))[0]
        for colour, name in zip(colours, names, strict=True)
    ]
    columns = max(1, min(5, 72 // (5 + min(24, max(map(len, names))))))  # 72 small letters fit below a panel
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    axes.legend(handles=dots, ncols=columns, frameon=False, fontsize=SMALL, **place)
    _names(axes, [places[labels == code] for code in codes], names, colours)


def _names(axes: Axes, groups: list[Array], names: list[str], colours: Array) -> None:
    """Each class's name at one of its samples near their median, or nowhere if it would lie on another name."""
    figure = axes.figure.figure
    figure.draw_without_rendering()  # places the axes, without which no text has an extent
    taken: list[Any] = []
    for group, name, colour in zip(groups, names, colours, strict=True):
        # The median itself may lie where none of the class is.
        nearest = group[np.square(group - np.median(group, axis=0)).sum(1).argsort()]
        outline = [patheffects.withStroke(linewidth=3, foreground="white")]
        dark = tuple(0.75 * channel for channel in colour[:3])
        look: dict[str, Any] = {"color": dark, "weight": "bold", "size": TEXT, "path_effects": outline}
        text = axes.text(0, 0, plain_text(name[:16]), ha="center", va="center", **look)
        for place in nearest[:: max(1, len(nearest) // 20)]:
            text.set_position((float(place[0]), float(place[1])))
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.remove()  # the legend has it


# ---------------------------------------------------------------- usage
def load_usage(path: Path, count: int) -> Array:
    """How often each sample was trained on, from what a run left behind.

    Args:
        path: A checkpoint of a training with `DynamicSelection` (.ckpt), a run of `dynsel compare` (.json), or an
            array (.npy). Nothing is unpickled beyond tensors and plain values.
        count: Number of samples of the data set.

    Returns:
        (N,) integer array.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no usage, or the usage of another number of samples.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no usage file {path}")
    if path.suffix not in _READERS:
        raise ValueError(f"usage must be a .ckpt, .json or .npy file, got {path.name!r}")
    try:
        usage = _READERS[path.suffix](path)
        array = np.asarray(usage)
    except Exception as error:  # of the disk, NumPy, zipfile, JSON or torch's unpickler
        raise ValueError(f"{path} can't be read as usage, or is damaged ({first_line(error)})") from error
    if usage is None:
        raise ValueError(f"{path} holds no `usage`: it is of no training with a selection")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold whole numbers as usage, got {array.dtype}")
    if array.shape != (count,):
        raise ValueError(
            f"{path} holds the usage of {array.shape[0] if array.ndim else 0} samples, the features have {count}"
        )
    return array


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": map_array,
    ".json": lambda path: _find(json.loads(path.read_text(encoding="utf-8"))),
    ".ckpt": lambda path: _find(torch.load(path, map_location="cpu", weights_only=True)),
}


def _find(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return None
    if isinstance(tree.get("usage"), Tensor | list):
        return tree["usage"]
    return next((found for value in tree.values() if (found := _find(value)) is not None), None)
