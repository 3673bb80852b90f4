"""Sheets of the images that were trained on most and least."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynsel.compare.report.style import Array, new_figure, plain_text

__all__ = ["class_name", "image_sheet", "is_image", "most_and_least"]


def most_and_least(usage: Array, count: int) -> tuple[Array, Array]:
    """The most and the least used samples, each in order, ties mixed.

    Args:
        usage: (N,) how often each was used.
        count: Of each; at most half of all.

    Returns:
        Two arrays of indices.
    """
    count = min(count, len(usage) // 2)
    # Ties are many; in the order of the data set they would all be of its first or last class.
    mixed = np.random.default_rng(0).permutation(len(usage))
    order = mixed[np.argsort(-usage[mixed], kind="stable")]
    return order[:count], order[::-1][:count]


def image_sheet(usage: Array, dataset: Any, *, title: str = "", columns: int = 10, rows: int = 2) -> Figure:
    """The most and the least used images, with class and number of uses.

    Args:
        usage: (N,) how often each was used.
        dataset: Items are (image, class), the image a (C, H, W) tensor, uint8 or floating; names of the classes
            are taken from its attribute `classes`, if it has one.
        title: Above all.
        columns: Images in a row.
        rows: Rows of most used and rows of least used ones, each.
    """
    usage = np.asarray(usage)
    most, least = most_and_least(usage, columns * rows)
    used_rows = -(-len(most) // columns)
    figure = new_figure(1.0 * columns, 2 * used_rows * 1.35 + 0.9)
    figure.suptitle(plain_text(title), fontsize=12)
    halves: Any = figure.subfigures(2, 1)
    for half, chosen, heading in zip(halves, (most, least), ("most used", "least used"), strict=True):
        half.suptitle(heading, fontsize=11, x=0.01, ha="left")
        panels = half.subplots(used_rows, columns, squeeze=False).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, index in zip(panels, chosen, strict=False):
            _show(axes, dataset, int(index), int(usage[index]))
    return figure


def _show(axes: Axes, dataset: Any, index: int, uses: int) -> None:
    image, label = dataset[index][:2]
    axes.imshow(_pixels(image), cmap="gray", interpolation="nearest")
    name = class_name(dataset, label)
    short = plain_text(name if len(name) <= 12 else name[:11] + "…")
    axes.set_title(f"{short}\n{uses}×", fontsize=8, pad=3)


def class_name(dataset: Any, label: Any) -> str:
    """Of a label, by the data set's `classes` if it has them."""
    names = getattr(dataset, "classes", None)
    return str(names[int(label)] if names is not None else int(label))


def _pixels(image: Any) -> Array:
    """(H, W, 3) or (H, W) in [0, 1]; normalised images are stretched to that range."""
    array = np.asarray(image.detach().float().cpu())
    if image.is_floating_point():
        low, high = array.min(), array.max()
        array = (array - low) / (high - low) if high > low else array * 0
    else:
        array = array / 255
    return np.moveaxis(array, 0, -1) if array.shape[0] == 3 else array[0]


def is_image(item: Any) -> bool:
    """Whether a data set's item is an image with its class, as `image_sheet` shows them."""
    if not isinstance(item, tuple | list) or len(item) < 2:
        return False
    image = item[0]
    return getattr(image, "ndim", 0) == 3 and image.shape[0] in (1, 3) and hasattr(image, "is_floating_point")
