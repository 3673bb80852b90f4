"""Differentiable augmentation that can be repeated: what real images went through, synthetic ones go through too.

torchvision's transforms take one set of numbers a call, so that every class, or in evaluation every image, would be a
call of its own; here a batch of groups with numbers of their own is one. Images are normalized ones.

Shapes: G groups, n images of a group.

Reference:
    Zhao & Bilen (2021), Dataset Condensation with Differentiable Siamese Augmentation, arXiv:2102.08259: operations
    and their ranges; one operation, drawn at random, a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.checks import check_text

__all__ = ["Augmentation", "Draw", "cutmix"]

Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
SHIFT, CUT, ZOOM, ANGLE = 1 / 8, 1 / 2, 1.2, 15.0


@dataclass(frozen=True, eq=False)
class Draw:
    """One operation with its random numbers.

    Args:
        operation: Name of the operation; None leaves the images as they are.
        numbers: (G, 3), uniform in [0, 1): what a group's images share.

    Reference:
        Zhao & Bilen (2021), Dataset Condensation with Differentiable Siamese Augmentation, arXiv:2102.08259.
    """

    operation: Operation | None
    numbers: Tensor


class Augmentation:
    """Draws one of several operations, and applies what was drawn.

    Args:
        operations: Names joined by "_", out of color, crop, cutout, flip, scale and rotate; "" = none.

    Raises:
        ValueError: If there is no such operation.

    Example:
        >>> augmentation = Augmentation("crop_flip")
        >>> draw = augmentation.draw(2, torch.Generator().manual_seed(0), torch.Generator())
        >>> draw.operation, augmentation(torch.zeros(2, 5, 3, 8, 8), draw).shape
        ('crop', torch.Size([2, 5, 3, 8, 8]))

    Reference:
        Zhao & Bilen (2021), Dataset Condensation with Differentiable Siamese Augmentation, arXiv:2102.08259: operations
        and their ranges; numbers of their own for each group are ours.
    """

    def __init__(self, operations: str) -> None:
        check_text("augment", operations, "names joined by '_'")
        self.operations = tuple(name for name in operations.split("_") if name)
        if unknown := [name for name in self.operations if name not in get_args(Operation)]:
            raise ValueError(
                f"`augment` must join names out of {', '.join(get_args(Operation))} by '_', got {unknown[0]!r}"
            )

    def draw(self, groups: int, host: torch.Generator, generator: torch.Generator) -> Draw:
        """What the next batch goes through.

        Args:
            groups: Number of groups of images with numbers of their own, G.
            host: Generator on the CPU, which decides the operation.
            generator: Generator on the device of the images, which decides the groups' numbers.
        """
        operation = None
        if self.operations:
            operation = self.operations[int(torch.randint(len(self.operations), (), generator=host))]
        return Draw(operation, torch.rand(groups, 3, generator=generator, device=generator.device))  # type: ignore[arg-type]

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """(G, n, C, H, W) floats, augmented; differentiable.

        Args:
            images: (G, n, C, H, W) floats.
            draw: What `draw` gave for G groups.
        """
        if draw.operation is None:
            return images
        numbers = draw.numbers.to(images.dtype)
        if draw.operation == "color":
            return _color(images, numbers)
        if draw.operation == "cutout":
            return images * _cutout(numbers, *images.shape[-2:])[:, None, None]
        if draw.operation == "flip":
            return torch.where((numbers[:, 0] < 0.5)[:, None, None, None, None], images.flip(-1), images)
        return _affine(images, _matrices(draw.operation, numbers, *images.shape[-2:]))


def _color(images: Tensor, numbers: Tensor) -> Tensor:
    """Brightness within ± 0.5, saturation within [0, 2), contrast within [0.5, 1.5)."""
    brightness, saturation, contrast = numbers[:, :, None, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    if images.shape[2] > 1:
        grey = images.mean(2, keepdim=True)
        images = (images - grey) * (2 * saturation) + grey
    level = images.mean((2, 3, 4), keepdim=True)
    return (images - level) * (contrast + 0.5) + level


def _cutout(numbers: Tensor, height: int, width: int) -> Tensor:
    """(G, H, W): 0 in a square of half the side about a random pixel, 1 elsewhere."""
    inside = []
    for number, size in ((numbers[:, 0], height), (numbers[:, 1], width)):
        place = torch.arange(size, device=numbers.device)
        half = size * CUT / 2
        inside.append((place + 0.5 - (number * size)[:, None]).abs() < half)
    return (~(inside[0][:, :, None] & inside[1][:, None, :])).to(numbers.dtype)


def _matrices(operation: str, numbers: Tensor, height: int, width: int) -> Tensor:
    """(G, 2, 3) maps from places in the result to places in the image, both in [-1, 1]."""
    zero, one = torch.zeros_like(numbers[:, 0]), torch.ones_like(numbers[:, 0])
    if operation == "scale":
        x, y = (ZOOM ** (2 * numbers[:, i] - 1) for i in (0, 1))
        rows = (x, zero, zero, zero, y, zero)
    elif operation == "rotate":
        angle = (2 * numbers[:, 0] - 1) * math.radians(ANGLE)
        ratio = height / width
        rows = (angle.cos(), -angle.sin() * ratio, zero, angle.sin() / ratio, angle.cos(), zero)
    else:
        # Whole pixels, so that nothing is blurred.
        steps = [
            torch.floor(numbers[:, i] * (2 * round(s * SHIFT) + 1)) - round(s * SHIFT)
            for i, s in ((0, width), (1, height))
        ]
        rows = (one, zero, 2 * steps[0] / width, zero, one, 2 * steps[1] / height)
    return torch.stack(rows, 1).view(-1, 2, 3)


def _affine(images: Tensor, matrices: Tensor) -> Tensor:
    groups, count, channels, height, width = images.shape
    # A group's images as channels of one: they share the places to read from.
    flat = images.reshape(groups, count * channels, height, width)
    grid = F.affine_grid(matrices.float(), [groups, 1, height, width], align_corners=False).to(images.dtype)
    return F.grid_sample(flat, grid, align_corners=False).view(images.shape)


def cutmix(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a random window of other images of the batch; targets are mixed by area.

    Args:
        images: (B, C, H, W) images of one batch.
        targets: (B, C) shares of classes.
        generator: Generator on the CPU, which decides window and partners.

    Reference:
        Yun et al. (2019), arXiv:1905.04899 (β = 1).
    """
    height, width = images.shape[-2:]
    cut, y, x = torch.rand(3, generator=generator).tolist()
    side = math.sqrt(cut)
    top, bottom = (min(max(int(y * height + s * side * height / 2), 0), height) for s in (-1, 1))
    left, right = (min(max(int(x * width + s * side * width / 2), 0), width) for s in (-1, 1))
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    share = (bottom - top) * (right - left) / (height * width)
    return mixed, (1 - share) * targets + share * targets[partner]
