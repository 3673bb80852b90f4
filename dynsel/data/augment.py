"""Augmentation and normalisation of uint8 batches, on the device the batch lies on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Normalize", "RandomCropFlip", "crop_flip"]


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
        if padding < 0:
            raise ValueError(f"`padding` must be 0 or more, got {padding}")
        self.padding = padding
        self.flip = flip
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        """Augment (B, C, H, W) images of any dtype; in eval mode they pass unchanged.

        Args:
            images: The batch.
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
        return f"padding={self.padding}, flip={self.flip}"


class Normalize(nn.Module):
    """Turn uint8 images into floats with the given mean and standard deviation taken out.

    Floating images are taken as already in [0, 1]. The result has the dtype of the module (float32 unless
    the module was cast).

    Args:
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel, for pixels in [0, 1].
        channels_last: Whether the result is laid out channels-last, which convolutions on CPUs and on
            tensor cores prefer.

    Raises:
        ValueError: If the lengths differ or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels_last: bool = True) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(f"`mean` and `std` must be of one length, got {len(mean)} and {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"`std` must be positive, got {tuple(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (B, C, H, W) images.

        Args:
            images: uint8, or floats in [0, 1].

        Raises:
            TypeError: If the images are of another integer dtype.
            ValueError: If their number of channels is not that of `mean`.
        """
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise TypeError(f"`images` must be uint8 or floating, got {images.dtype}")
        if images.shape[1] != self.mean.shape[1]:
            raise ValueError(f"`images` must have {self.mean.shape[1]} channels, got {images.shape[1]}")
        unit = 255 if images.dtype == torch.uint8 else 1
        pixels = images.to(self.mean.dtype, memory_format=self.memory_format)
        return torch.addcmul(-self.mean / self.std, pixels, 1 / (unit * self.std))

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
