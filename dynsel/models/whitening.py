"""A first layer that makes an image's patches uncorrelated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynsel._lib.checks import check_integer

__all__ = ["Whitening", "whitening_filters"]

EPS = 5e-4  # added to the variances, so that directions without any aren't blown up


def whitening_filters(images: Tensor, size: int) -> Tensor:
    """The principal directions of the images' patches, each over its standard deviation.

    Args:
        images: (B, C, H, W) floats, H and W of `size` or more.
        size: Side of a patch in pixels.

    Returns:
        (C · size², C, size, size) float32 filters, of the largest variance first.
    """
    channels = images.shape[1]
    patches = F.unfold(images.float(), size).transpose(1, 2).flatten(0, 1).double()  # (B · patches, C · size²)
    centred = patches - patches.mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(patches))
    filters: Tensor = (directions / (variances + EPS).sqrt()).T.flip(0)
    return filters.reshape(-1, channels, size, size).float()


class Whitening(nn.Module):
    """Convolution by the whitening filters of the data and by their negatives, with a bias that learns.

    Until `fit` the filters are random. They are no parameters: nothing trains them.

    Args:
        in_channels: Channels of the images, C.
        size: Side of a patch in pixels.

    Raises:
        ValueError: If a number is out of range.
    """

    weight: Tensor

    def __init__(self, in_channels: int, size: int) -> None:
        super().__init__()
        check_integer("in_channels", in_channels, at_least=1)
        half = in_channels * size**2
        self.out_channels = 2 * half
        self.register_buffer("weight", torch.randn(2 * half, in_channels, size, size) / half**0.5)
        self.bias = nn.Parameter(torch.zeros(2 * half))
        self.ready = False

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the filters of these images.

        Args:
            images: (B, C, H, W) normalized floats.
        """
        filters = whitening_filters(images, self.weight.shape[-1])
        self.weight.copy_(torch.cat([filters, -filters]))
        self.ready = True

    def forward(self, images: Tensor) -> Tensor:
        """(B, 2 C size², H - size + 1, W - size + 1) whitened patches.

        Args:
            images: (B, C, H, W) normalized floats.
        """
        return F.conv2d(images, self.weight, self.bias)

    def get_extra_state(self) -> Tensor:
        """Whether the filters are the data's, as a part of `state_dict`."""
        return torch.tensor(self.ready)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave.

        Args:
            state: One bool.
        """
        self.ready = bool(state)
