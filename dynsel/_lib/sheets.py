"""Sheets of the images that were trained on most and least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynsel._lib.figures import SMALL, TEXT, WIDTH, Array, new_figure, plain_text
from dynsel._lib.rgb import as_rgb

__all__ = ["class_name", "image_sheet", "is_image", "most_and_least", "pixels", "sheet_data", "which"]

_LETTERS = 10  # of a caption's line


def most_and_least(usage: Array, count: int) -> tuple[Array, Array]:
    """The most and the least used samples, each in order, ties mixed.

    Args:
        usage: (N,) number of times that each sample was used.
        count: Number of samples of each kind; at most half of all are given.

    Returns:
        Two arrays of `count` indices: the most used in falling, the least used in rising order.
    """
    count = min(count, len(usage) // 2)
    # Ties are many; in the order of the data set they would all be of its first or last class.
    mixed = np.random.default_rng(0).permutation(len(usage))
    order = mixed[np.argsort(-usage[mixed], kind="stable")]
    return order[:count], order[::-1][:count]


def sheet_data(usage: Array, dataset: Any, count: int, paths: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The numbers of a sheet: place, index, class, uses and path of each image, the most used ones first.

    Args:
        usage: (N,) number of times that each image was used.
        dataset: Map-style data set with items (image, class).
        count: Number of images of each kind; at most half of all are given.
        paths: (N,) where each image comes from; None = not known.
    """
    return [
        {
            "place": f"{place} used",
            "index": int(i),
            "class": class_name(dataset, dataset[int(i)][1]),
            "uses": usage[i],
            **({} if paths is None else {"path": paths[int(i)]}),
        }
        for place, chosen in zip(("most", "least"), most_and_least(usage, count), strict=True)
        for i in chosen
    ]


def image_sheet(
    usage: Array,
    dataset: Any,
    *,
    title: str = "",
    columns: int = 10,
    rows: int = 2,
    paths: Sequence[str] | None = None,
) -> Figure:
    """The most and the least used images, each with its class, number of uses, index and the end of its path.

    The axes of an image have its index as `gid`.

    Args:
        usage: (N,) number of times that each image was used.
        dataset: Map-style data set. Items are (image, class), the image a (C, H, W) tensor, uint8 or floating; its
            attribute `classes`, if it has one, names the classes.
        title: Heading of the sheet; none by default.
        columns: Number of images in a row.
        rows: Number of rows of the most used images, and of the least used ones.
        paths: (N,) where each image comes from; None = not known.
    """
    usage = np.asarray(usage)
    most, least = most_and_least(usage, columns * rows)
    used_rows = -(-len(most) // columns)
    side = WIDTH / columns
    figure = new_figure(WIDTH, 2 * used_rows * (side + (0.47 if paths is None else 0.59)) + 0.9)
    figure.suptitle(plain_text(title), fontsize=TEXT, x=0.01, ha="left")
    halves: Any = figure.subfigures(2, 1)
    for half, chosen, heading in zip(halves, (most, least), ("most used", "least used"), strict=True):
        half.suptitle(heading, fontsize=SMALL, x=0.01, ha="left")
        panels = half.subplots(used_rows, columns, squeeze=False).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, index in zip(panels, chosen, strict=False):
            _show(axes, dataset, int(index), int(usage[index]), "" if paths is None else paths[int(index)])
    return figure


def _show(axes: Axes, dataset: Any, index: int, uses: int, path: str) -> None:
    image, label = dataset[index][:2]
    axes.imshow(pixels(image), interpolation="nearest")
    name = class_name(dataset, label)
    short = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
    axes.set_title(plain_text(f"{short}\n{uses}×\n{which(index, path)}"), fontsize=8, pad=3)
    axes.set_gid(str(index))


def which(index: int, path: str = "") -> str:
    """A caption that says which sample it is: its index and, in a second line, the end of its path.

    Args:
        index: Index in the data set.
        path: Where the sample comes from; empty if that isn't known.
    """
    # Of a path the end tells files apart.
    end = path if len(path) <= _LETTERS else "…" + path[1 - _LETTERS :]
    return f"#{index}\n{end}" if path else f"#{index}"


def class_name(dataset: Any, label: Any) -> str:
    """Name of a label's class, or what else can be said of a target in a word; empty if nothing.

    Args:
        dataset: Data set, or what is known of one, whose attribute `classes` names the classes, if it has one.
        label: Class code, a number or a tensor of one; any other target of a sample.
    """
    if isinstance(label, Tensor | np.ndarray | np.generic) and math.prod(label.shape) == 1:
        label = label.item()
    if isinstance(label, str):
        return label
    if not isinstance(label, int | float):
        return ""  # several numbers, a mask, boxes
    names = getattr(dataset, "classes", None)
    # No index from the end: of samples without a label the code may be -1.
    return f"{label:g}" if names is None or label not in range(len(names)) else str(names[int(label)])


def pixels(image: Any) -> Array:
    """An image as matplotlib shows it.

    Args:
        image: PIL image, or tensor or array of shape (H, W), (C, H, W) or (H, W, C): uint8, uint16 or floating.
            Floating values beyond [0, 1], as of normalised images, are stretched to that range. Where whole numbers go
            above 255, 65,535 becomes 255.

    Returns:
        (H, W, 3) uint8.
    """
    image = _eight_bits(image)
    if isinstance(image, Tensor) and image.is_floating_point():
        image = image.detach().float().cpu()
        low, high = image.min(), image.max()
        if low < 0 or high > 1:
            image = (image - low) / (high - low) if high > low else torch.zeros_like(image)
    return np.asarray(as_rgb(image))


def _eight_bits(image: Any) -> Any:
    """The same image, its whole numbers of more bits as uint8, for PIL would make all above 255 white."""
    from PIL import Image

    if isinstance(image, Image.Image) and image.mode == "F":
        return torch.from_numpy(np.nan_to_num(np.asarray(image), posinf=0, neginf=0))
    if isinstance(image, Image.Image) and image.mode.startswith("I"):
        image = np.asarray(image)
    array = image.cpu().numpy() if isinstance(image, Tensor) and image.dtype == torch.uint16 else image
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.dtype == np.uint8:
        return image
    high = int(array.max(initial=0))
    top = 255 if high <= 255 else max(high, 65535)
    return np.rint(array.clip(0) * (255 / top)).astype(np.uint8)


def is_image(item: Any) -> bool:
    """Whether an item is an image with its class, as `image_sheet` shows them.

    Args:
        item: Item of a data set, of any type.
    """
    if not isinstance(item, tuple | list) or len(item) < 2:
        return False
    image = item[0]
    return getattr(image, "ndim", 0) == 3 and image.shape[0] in (1, 3) and hasattr(image, "is_floating_point")
