"""Mosaics: several small images stored in the place of one, and enlarged to be trained on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["check_factor", "decode", "encode"]


def check_factor(factor: int, height: int, width: int) -> None:
    """Check that images can be divided into factor x factor tiles.

    Args:
        factor: Tiles along each side, at least 1.
        height: Height of the images in pixels, H.
        width: Width of the images in pixels, W.

    Raises:
        ValueError: If a side isn't a multiple of the factor.
    """
    if factor < 1:
        raise ValueError(f"`factor` must be at least 1, got {factor}")
    if height % factor or width % factor:
        raise ValueError(
            f"`factor` must divide both sides of the images, got {factor} for {height}x{width}; use factor 1, or "
            f"resize to {height - height % factor}x{width - width % factor}"
        )


def decode(mosaics: Tensor, factor: int) -> Tensor:
    """Cut each mosaic into its tiles and enlarge them, bilinearly, to full size; differentiable.

    Args:
        mosaics: (..., C, H, W) floating point.
        factor: Tiles along each side; 1 returns the images themselves.

    Returns:
        (..., factor², C, H, W) with the tiles row by row.
    """
    *lead, channels, height, width = mosaics.shape
    check_factor(factor, height, width)
    if factor == 1:
        return mosaics.unsqueeze(-4)
    h, w = height // factor, width // factor
    tiles = mosaics.reshape(-1, channels, factor, h, factor, w).permute(0, 2, 4, 1, 3, 5)
    full = F.interpolate(tiles.reshape(-1, channels, h, w), (height, width), mode="bilinear", align_corners=False)
    return full.view(*lead, factor * factor, channels, height, width)


def encode(images: Tensor, factor: int) -> Tensor:
    """Shrink images by averaging and set them into mosaics: what `decode` is given at the start.

    Args:
        images: (..., factor², C, H, W) floating point.
        factor: Tiles along each side, at least 1.

    Returns:
        (..., C, H, W) of the same type.

    Raises:
        ValueError: If a side isn't a multiple of the factor, or there are more or fewer tiles.
    """
    *lead, tiles, channels, height, width = images.shape
    check_factor(factor, height, width)
    if tiles != factor * factor:
        raise ValueError(f"`images` must have {factor * factor} tiles per mosaic, got {tiles}")
    h, w = height // factor, width // factor
    small = F.interpolate(images.reshape(-1, channels, height, width), (h, w), mode="area")
    return (
        small.view(-1, factor, factor, channels, h, w).permute(0, 3, 1, 4, 2, 5).reshape(*lead, channels, height, width)
    )
