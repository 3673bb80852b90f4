"""Augmentation of batches of images, on the device that the batch lies on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_flag, check_integer

__all__ = ["AlternatingCropFlip", "RandomCropFlip", "crop_flip"]


SLOTS = 2**18


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
    """Random crop out of reflect padding, and mirroring every other time that an image comes up.

    Half of the images begin mirrored. Two uses of an image then see it both ways, where two independent draws see half
    of the images twice alike. An image is known by its pixels, so that no sample has to tell its index, and a selection
    may take it as often as it likes: a table of 2¹⁸ bits, which is a part of `state_dict`, says whose turn it is (of
    50,000 images five in six have a bit of their own). On several ranks each remembers what it saw itself, and goes on
    from a checkpoint with what the first one saw. Active in training mode only; the moves are drawn from PyTorch's
    random state, as by `RandomCropFlip`.

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
        # No buffer: DDP would give every rank the first one's table.
        self.turns = torch.rand(SLOTS, generator=torch.Generator().manual_seed(0)) < 0.5

    def forward(self, images: Tensor) -> Tensor:
        """Augment (B, C, H, W) images of any dtype; in eval mode they pass unchanged.

        Args:
            images: (B, C, H, W) images, uint8 or floats in [0, 1].
        """
        if not self.training:
            return images
        top, left = (torch.randint(2 * self.padding + 1, (len(images),), device=images.device) for _ in range(2))
        moved = crop_flip(images, top, left, self._mirrored(images), self.padding)
        return self._hide(moved) if self.cutout else moved

    def _mirrored(self, images: Tensor) -> Tensor:
        """(B,) bool, whose turn it is to be mirrored; the next time it is the other way round."""
        pixels = (images * 255).round() if images.is_floating_point() else images
        pixels = pixels.flatten(1).long()
        weights = torch.arange(1, pixels.shape[1] + 1, device=images.device) * 40_503 % 65_521
        slots = (pixels * weights).sum(1) % SLOTS
        self.turns = self.turns.to(images.device)
        mirrored = self.turns[slots]
        self.turns[slots] = ~mirrored
        return mirrored

    def get_extra_state(self) -> Tensor:
        """The table of turns, as a part of `state_dict`."""
        return self.turns.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave.

        Args:
            state: (2¹⁸,) bool.
        """
        self.turns = state.clone()

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
