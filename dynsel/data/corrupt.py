"""Harder data to compare methods on: wrong labels, classes of very different sizes, and copies."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from dynsel.data.augment import crop_flip

__all__ = ["Copy", "altered", "confuse_labels", "copy_rows", "flip_labels", "long_tail", "partners"]

# Of each sample that is copied there are so many copies.
_COPIES = 6


def flip_labels(targets: Tensor, share: float, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Symmetric label noise: a share of the samples gets another class, each other class equally likely.

    Exactly round(share N) samples are wrong afterwards. (Some papers draw from all classes, the right one among them,
    so that at "20 %" only 18 % of ten classes' labels are wrong.)

    Args:
        targets: (N,) int64 in [0, num_classes).
        share: Share of the samples whose label becomes wrong, in [0, 1).
        num_classes: C, at least 2 if anything is to be flipped.
        generator: Source of the draws, on the CPU.

    Returns:
        (N,) int64 targets, and an (N,) bool mask of those that are wrong now.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> targets, wrong = flip_labels(torch.zeros(5, dtype=torch.int64), 0.4, 2, torch.Generator().manual_seed(0))
        >>> int(targets.sum()), int(wrong.sum())
        (2, 2)
    """
    count = _wrong_count(targets, share, num_classes)
    wrong = torch.zeros(len(targets), dtype=torch.bool)
    wrong[torch.randperm(len(targets), generator=generator)[:count]] = True
    steps = torch.randint(1, max(2, num_classes), (count,), generator=generator)
    flipped = targets.clone()
    flipped[wrong] = (targets[wrong] + steps) % num_classes
    return flipped, wrong


def confuse_labels(targets: Tensor, share: float, partner: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Label noise by confusion: a share of the samples gets the class that its own is taken for.

    Exactly round(share N) samples are wrong afterwards, drawn from all classes alike.

    Args:
        targets: (N,) int64 in [0, C).
        share: Share of the samples whose label becomes wrong, in [0, 1).
        partner: (C,) int64, the class that each class is taken for; never itself.
        generator: Source of the draws, on the CPU.

    Returns:
        (N,) int64 targets, and an (N,) bool mask of those that are wrong now.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> cat_dog, generator = torch.tensor([1, 0]), torch.Generator().manual_seed(0)
        >>> confuse_labels(torch.zeros(5, dtype=torch.int64), 0.4, cat_dog, generator)[0].sum()
        tensor(2)
    """
    if bool((partner == torch.arange(len(partner))).any()):
        raise ValueError(f"`partner` must be another class for each, got {partner.tolist()}")
    count = _wrong_count(targets, share, len(partner))
    wrong = torch.zeros(len(targets), dtype=torch.bool)
    wrong[torch.randperm(len(targets), generator=generator)[:count]] = True
    return torch.where(wrong, partner[targets], targets), wrong


def partners(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Tensor:
    """The class that each class is taken for: the other one of its pair, or else the next class.

    Args:
        classes: Names of the C classes.
        pairs: Classes that are taken for each other.

    Returns:
        (C,) int64.

    Example:
        >>> partners(["cat", "dog", "car"], [("cat", "dog")]).tolist()
        [1, 0, 0]
    """
    place = {name: code for code, name in enumerate(classes)}
    partner = (torch.arange(len(classes)) + 1) % max(1, len(classes))
    for one, other in pairs:
        if one in place and other in place:
            partner[place[one]], partner[place[other]] = place[other], place[one]
    return partner


def _wrong_count(targets: Tensor, share: float, num_classes: int) -> int:
    if not 0 <= share < 1:
        raise ValueError(f"`label_noise` must be in [0, 1), got {share}; it is the share of wrong labels")
    count = math.floor(share * len(targets) + 0.5)
    if count and num_classes < 2:
        raise ValueError(f"`label_noise` needs at least 2 classes, got {num_classes}")
    return count


def long_tail(targets: Tensor, imbalance: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Rows that make the classes' sizes fall off exponentially, from the first class to the last.

    Class c keeps round(n_c f^(-c / (C - 1))) of its n_c samples, at least one, drawn at random: the first all, the last
    a share 1 / f.

    Args:
        targets: (N,) int64 in [0, num_classes).
        imbalance: Size f of the first class over that of the last, at least 1.
        num_classes: Number of classes, C.
        generator: Source of the draws, on the CPU.

    Returns:
        (M,) int64 rows, ascending.

    Raises:
        ValueError: If `imbalance` is below 1 or not finite.

    Reference:
        Cui et al. (2019), Class-Balanced Loss Based on Effective Number of Samples, CVPR, arXiv:1901.05555.

    Example:
        >>> targets = torch.arange(3).repeat_interleave(100)
        >>> torch.bincount(targets[long_tail(targets, 100.0, 3, torch.Generator())]).tolist()
        [100, 10, 1]
    """
    if not 1 <= imbalance < math.inf:
        raise ValueError(f"`imbalance` must be at least 1 and finite, got {imbalance}; 1 changes nothing")
    sizes = torch.bincount(targets, minlength=num_classes)
    shares = imbalance ** (-torch.arange(num_classes, dtype=torch.float64) / max(1, num_classes - 1))
    kept = torch.minimum(sizes, (sizes * shares + 0.5).floor().long().clamp_min(1))
    order = torch.randperm(len(targets), generator=generator)
    # The first of each class in a random order.
    order = order[torch.argsort(targets[order], stable=True)]
    place = torch.arange(len(order)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return order[place < kept[targets[order]]].sort().values


class Copy(IntEnum):
    """What a sample is of another one."""

    NONE = 0  # no copy
    EXACT = 1
    ENCODED = 2  # the same through lossy compression
    AUGMENTED = 3  # moved by up to two pixels, and a little darker or brighter


def copy_rows(count: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a share of the samples by copies of a few others: six copies of each that is copied.

    With a share of 0.3 five samples of a hundred have six copies each, and 65 are there once.

    Args:
        count: Number of samples, N.
        share: Share of the samples that become copies, in [0, 0.8].
        generator: Source of the draws, on the CPU.

    Returns:
        (N,) int64 row that each sample is taken from, its own unless it is a copy; and (N,) int64 `Copy`, a third of
        the copies of each kind.

    Raises:
        ValueError: If `share` is out of range.

    Example:
        >>> rows, kind = copy_rows(20, 0.3, torch.Generator().manual_seed(0))
        >>> int((rows != torch.arange(20)).sum()), torch.bincount(kind).tolist()
        (6, [14, 2, 2, 2])
    """
    if not 0 <= share <= 0.8:
        raise ValueError(
            f"`duplicates` must be in [0, 0.8], got {share}; it is the share of the samples that are copies"
        )
    # Of a handful of samples one in seven stays to be copied.
    copies = min(math.floor(share * count + 0.5), count - -(-count // (_COPIES + 1)))
    order = torch.randperm(count, generator=generator)
    sources = order[copies : copies + -(-copies // _COPIES)]
    rows, kind = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    rows[order[:copies]] = sources[torch.arange(copies) // _COPIES]
    kind[order[:copies]] = 1 + torch.arange(copies) % 3
    return rows, kind


def altered(images: Tensor, kind: Tensor, generator: torch.Generator) -> Tensor:
    """The images as the copies that they are.

    Args:
        images: (N, C, H, W) uint8 with one or three channels.
        kind: (N,) int64 `Copy`.
        generator: Source of the draws, on the CPU.

    Returns:
        (N, C, H, W) uint8.
    """
    changed = images.clone()
    for row in (kind == Copy.ENCODED).nonzero()[:, 0].tolist():
        changed[row] = _through_jpeg(images[row])
    rows = (kind == Copy.AUGMENTED).nonzero()[:, 0]
    top, left = torch.randint(5, (2, len(rows)), generator=generator)
    moved = crop_flip(images[rows], top, left, torch.zeros(len(rows), dtype=torch.bool), 2)
    light = 0.9 + 0.2 * torch.rand(len(rows), 1, 1, 1, generator=generator)
    changed[rows] = (moved.float() * light).round().clamp(0, 255).to(torch.uint8)
    return changed


def _through_jpeg(image: Tensor) -> Tensor:
    """A (C, H, W) uint8 image as JPEG of quality 75 gives it back."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "JPEG", quality=75)
    again = torch.from_numpy(np.array(Image.open(stream)))
    return again[None] if again.ndim == 2 else again.permute(2, 0, 1)
