"""Normalization of images, on the device that they lie on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_flag, check_numbers

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "Normalize", "usual_statistics"]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


class Normalize(nn.Module):
    """Turns uint8 images into floats with the given mean and standard deviation taken out.

    Floating images are taken as already in [0, 1]. The result has the dtype of the module (float32 unless
    the module was cast).

    Args:
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel, for pixels in [0, 1].
        channels_last: Whether the result is laid out channels-last, which convolutions on CPUs and on
            tensor cores prefer.

    Raises:
        TypeError: If they are no lists of numbers.
        ValueError: If the lengths differ or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels_last: bool = True) -> None:
        super().__init__()
        mean, std = check_numbers("mean", mean), check_numbers("std", std, above=0)
        if len(mean) != len(std) or not mean:
            raise ValueError(f"`mean` and `std` must be of one length, got {len(mean)} and {len(std)}")
        check_flag("channels_last", channels_last)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, images: Tensor) -> Tensor:
        """Normalize a batch.

        Args:
            images: (B, C, H, W) uint8, or floats in [0, 1].

        Returns:
            (B, C, H, W) floats.

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
        """Mean and standard deviation of each channel, which `print` shows between the brackets."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


def usual_statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel: CIFAR-10's for three channels, else 0.5 for both.

    Args:
        channels: Number of channels of the images, C.

    Returns:
        Two tuples of length C, for pixels in [0, 1].
    """
    return (CIFAR10_MEAN, CIFAR10_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
