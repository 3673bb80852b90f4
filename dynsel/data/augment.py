"""Augmentation of batches of images, on the device that the batch lies on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_flag, check_integer

__all__ = ["AlternatingCropFlip", "RandomCropFlip", "crop_flip"]


def _reflect(coordinates: Tensor, size: int) -> Tensor:
    """Fold coordinates in (-size, 2 * size - 1) back into [0, size) the way reflect padding does."""
    return (size - 1) - (size - 1 - coordinates.abs()).abs()


def crop_flip(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, padding: int) -> Tensor:
    """Cut from each reflect-padded image a window of the original size, then mirror some left to right.

    The padded images are never built: the window's coordinates are folded back into the image and one
    gather fetches all pixels.

    Args:
        images: (B, C, H, W), any dtype, H and W larger than `padding`.
        top: (B,) int64 first row of the window in the padded image, in [0, 2 * padding].
        left: (B,) int64 first column of the window in the padded image, in [0, 2 * padding].
        mirrored: (B,) bool, which windows to mirror.
        padding: Pixels of reflect padding on each side.

    Returns:
        (B, C, H, W) in the dtype of `images`.

    Raises:
        ValueError: If the images are too small for the padding.

    Example:
        >>> row = torch.tensor([[[[1, 2, 3]]]]).expand(1, 1, 3, 3)
        >>> crop_flip(row, torch.tensor([1]), torch.tensor([0]), torch.tensor([False]), 1)[0, 0, 0]
        tensor([2, 1, 2])
    """
    batch, channels, height, width = images.shape
    if padding >= min(height, width):
        raise ValueError(f"`padding` must be smaller than the image side, got {padding} for {height}x{width}")
    rows = _reflect(top[:, None] + torch.arange(height, device=images.device) - padding, height)
    columns = _reflect(left[:, None] + torch.arange(width, device=images.device) - padding, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    return images.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view_as(images)


class RandomCropFlip(nn.Module):
    """Random crop out of reflect padding and random mirroring, drawn for each image by itself.

    Active in training mode only. Without `generator` the draws come from PyTorch's own random state of the
    batch's device: `seed_everything` then decides them, and whoever saves and restores that state (as for
    dropout) resumes them exactly. This is the one place of the package that draws from a global state, since
    the module stands in for the user's own augmentation. With `generator` nothing else is touched.

    Args:
        padding: Pixels the window may move to each side, 0 or more and smaller than the image.
        flip: Whether half of the images are mirrored left to right.
        generator: Source of the draws; may lie on another device than the images.

    Raises:
        ValueError: If `padding` is negative.
    """

    def __init__(self, padding: int = 4, flip: bool = True, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.padding = check_integer("padding", padding, at_least=0)
        self.flip = check_flag("flip", flip)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"`generator` must be a torch.Generator, got {generator!r}")
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        """Augment (B, C, H, W) images of any dtype; in eval mode they pass unchanged.

        Args:
            images: (B, C, H, W) images of any dtype.
        """
        if not self.training:
            return images
        top = self._draw(2 * self.padding + 1, images)
        left = self._draw(2 * self.padding + 1, images)
        mirrored = self._draw(2, images).bool() if self.flip else torch.zeros_like(top, dtype=torch.bool)
        return crop_flip(images, top, left, mirrored, self.padding)

    def _draw(self, high: int, images: Tensor) -> Tensor:
        device = images.device if self.generator is None else self.generator.device
        return torch.randint(high, (len(images),), generator=self.generator, device=device).to(images.device)

    def extra_repr(self) -> str:
        """Padding and flip, which `print` shows between the brackets."""
        return f"padding={self.padding}, flip={self.flip}"


class AlternatingCropFlip(nn.Module):
    """Random crop out of reflect padding, and mirroring in every other epoch.

    Half of the images begin mirrored, by the parity of the sum of their pixels: no sample has to tell its index, and
    nothing has to be stored or resumed. The next epoch mirrors the other half, so that two passes see each image
    both ways, where two independent draws see half of them twice alike. Where an epoch trains on a selection, what
    is chosen in every other epoch only is always seen the same way. Active in training mode only; the moves are
    drawn from PyTorch's random state, as by `RandomCropFlip`.

    Args:
        padding: Pixels the window may move to each side, 0 or more and smaller than the image.
        cutout: Side in pixels of a square at a random place that is set to the batch's mean; 0 hides none.

    Raises:
        ValueError: If a number is negative.

    Reference:
        Jordan (2024), arXiv:2404.00498 (alternating flip); DeVries, Taylor (2017), arXiv:1708.04552 (cutout).
    """

    def __init__(self, padding: int = 2, cutout: int = 0) -> None:
        super().__init__()
        self.padding = check_integer("padding", padding, at_least=0)
        self.cutout = check_integer("cutout", cutout, at_least=0)

    def forward(self, images: Tensor, epoch: int) -> Tensor:
        """Augment (B, C, H, W) images of any dtype; in eval mode they pass unchanged.

        Args:
            images: (B, C, H, W) images, uint8 or floats in [0, 1].
            epoch: Number of the epoch, from 0 on.
        """
        if not self.training:
            return images
        top, left = (torch.randint(2 * self.padding + 1, (len(images),), device=images.device) for _ in range(2))
        unit = 255 if images.is_floating_point() else 1
        sums = (images * unit).round() if unit > 1 else images
        mirrored = (sums.flatten(1).sum(1, dtype=torch.int64) + epoch) % 2 == 1
        moved = crop_flip(images, top, left, mirrored, self.padding)
        return self._hide(moved) if self.cutout else moved

    def _hide(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        hidden = []
        for side in (height, width):
            begin = torch.randint(max(side - self.cutout, 0) + 1, (len(images), 1), device=images.device)
            place = torch.arange(side, device=images.device)
            hidden.append((begin <= place) & (place < begin + self.cutout))
        square = hidden[0][:, None, :, None] & hidden[1][:, None, None, :]
        mean = images.float().mean((0, 2, 3), keepdim=True).to(images.dtype)
        return torch.where(square, mean, images)
