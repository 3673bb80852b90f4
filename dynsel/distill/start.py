"""What distillation begins with: the rows of every class, and the images before the first step."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_integer, check_number
from dynsel._lib.images import TensorImages
from dynsel._lib.selection_files import read_indices
from dynsel.distill.mosaic import encode
from dynsel.selectors.herding import herding_order

__all__ = ["check_classes", "check_options", "class_table", "draw_rows", "first_images"]


def check_options(
    images_per_class: int,
    real_batch: int,
    patience: int,
    class_chunk: int | None,
    lr: float,
    frequency_lr: float,
    amplitude: float,
    calibration: float,
    seed: int,
) -> None:
    """Check the numbers that `NCFM` is constructed with.

    Args:
        images_per_class: Synthetic images of each class, at least 1.
        real_batch: Real images per class and step, at least 1.
        patience: Steps without progress that are waited for, at least 1.
        class_chunk: Classes per pass, at least 1; None takes all at once.
        lr: Learning rate of the images, above 0.
        frequency_lr: Learning rate of the frequency network, above 0.
        amplitude: Weight of the amplitudes against the phases, in [0, 1].
        calibration: Weight of the calibration loss, at least 0.
        seed: Seed of the first images, in [0, 2^31).

    Raises:
        ValueError: If a number is out of range; names the argument.
    """
    for name, value in (("images_per_class", images_per_class), ("real_batch", real_batch), ("patience", patience)):
        check_integer(name, value, at_least=1)
    if class_chunk is not None:
        check_integer("class_chunk", class_chunk, at_least=1)
    check_number("lr", lr, above=0)
    check_number("frequency_lr", frequency_lr, above=0)
    check_number("amplitude", amplitude, at_least=0, at_most=1)
    check_number("calibration", calibration, at_least=0)
    check_integer("seed", seed, at_least=0, at_most=2**31 - 1)


def check_classes(data: TensorImages, images_per_class: int) -> None:
    """Check that every class has as many images as are to be made.

    Args:
        data: The real images that are distilled.
        images_per_class: Number of images to be made of every class.

    Raises:
        ValueError: If one hasn't.
    """
    sizes = torch.bincount(data.targets.cpu(), minlength=len(data.classes))
    if empty := [data.classes[code] for code in (sizes == 0).nonzero()[:, 0].tolist()]:
        raise ValueError(f"every class must have samples, got none of {', '.join(empty)}; leave it out of `classes`")
    smallest = int(sizes.argmin())
    if images_per_class > int(sizes[smallest]):
        raise ValueError(
            f"`images_per_class` must be at most the size of the smallest class, {int(sizes[smallest])} of "
            f"{data.classes[smallest]}, got {images_per_class}"
        )


def class_table(targets: Tensor, num_classes: int) -> Tensor:
    """(classes, largest class) int64 rows of every class, filled up with -1.

    Args:
        targets: (N,) int64 class of each image, in [0, num_classes).
        num_classes: Number of classes, C.

    Example:
        >>> class_table(torch.tensor([1, 0, 1]), 2).tolist()
        [[1, -1], [0, 2]]
    """
    members = [(targets == code).nonzero()[:, 0] for code in range(num_classes)]
    return nn.utils.rnn.pad_sequence(members, batch_first=True, padding_value=-1)


def draw_rows(table: Tensor, keys: Tensor, count: int) -> Tensor:
    """Draw rows of every class without replacement.

    Args:
        table: (classes, largest class) rows as `class_table` gives them.
        keys: Random numbers of the same shape, uniform in [0, 1).
        count: Number of rows to draw of each class.

    Returns:
        (classes, n) rows, -1 where a class has no further one; n is `count` or the size of the largest class.
    """
    places = keys.masked_fill(table < 0, -1).topk(min(count, table.shape[1]), dim=1, sorted=False).indices
    return table.gather(1, places)


def first_images(data: TensorImages, per_class: int, factor: int, init: str, seed: int) -> Tensor:
    """The images before the first step.

    Args:
        data: The real images that are distilled.
        per_class: Number of images of every class.
        factor: Tiles along each side; every tile is a real image made smaller.
        init: Where the images begin, as in `NCFM`.
        seed: Seed for the draw.

    Returns:
        (classes, per_class, C, H, W) float32 in [0, 1].
    """
    generator = torch.Generator().manual_seed(seed)
    if init == "noise":
        return torch.rand((len(data.classes), per_class, *data.image_shape), generator=generator)
    data = data.to("cpu")
    tiles = per_class * factor**2
    rows = torch.stack([_rows(data, members, tiles, init, generator) for members in _members(data, init)])
    pixels = data.images[rows].float() / 255
    return encode(pixels.view(len(data.classes), per_class, factor**2, *data.image_shape), factor)


def _rows(data: TensorImages, members: Tensor, count: int, init: str, generator: torch.Generator) -> Tensor:
    if init == "herding":
        pixels = data.images[members].flatten(1).float()
        members = members[herding_order(pixels, min(count, len(members)))]
    elif init == "real":
        members = members[torch.randperm(len(members), generator=generator)]
    # A class may have fewer images than there are tiles.
    return members[torch.arange(count) % len(members)]


def _members(data: TensorImages, init: str) -> list[Tensor]:
    """Rows of each class to begin with."""
    rows = torch.arange(len(data)) if init in ("real", "herding") else _selected(init, len(data))
    members = [rows[data.targets[rows] == code] for code in range(len(data.classes))]
    if empty := [data.classes[code] for code, found in enumerate(members) if len(found) == 0]:
        raise ValueError(f"`init` must name samples of every class, got none of {', '.join(empty)} in {init}")
    return members


def _selected(path: str, count: int) -> Tensor:
    if not path.endswith(".json") or not Path(path).is_file():
        raise ValueError(f"`init` must be real, herding, noise or the manifest of `dynsel select`, got {path!r}")
    return read_indices("init", Path(path), count)
