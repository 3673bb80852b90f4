"""A network that reaches 94 % on CIFAR-10 in ten epochs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dynsel._lib.checks import check_integer, check_numbers
from dynsel.models.whitening import Whitening

__all__ = ["FastBlock", "FastNet"]


class FastBlock(nn.Module):
    """Two or three 3x3 convolutions, the first followed by max pooling; of three, the last goes around by a shortcut.

    Batch norm has a bias and no weight. Each convolution begins as the identity on as many channels as come in.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out, no fewer than come in.
        convs: Number of convolutions, 2 or 3.
    """

    def __init__(self, in_channels: int, out_channels: int, convs: int) -> None:
        super().__init__()
        channels = [in_channels, *[out_channels] * convs]
        convolutions = [nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False) for i in range(convs)]
        for conv, count in zip(convolutions, channels, strict=False):
            nn.init.dirac_(conv.weight.data[:count])
        self.convs = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(_norm(out_channels) for _ in range(convs))

    def forward(self, images: Tensor) -> Tensor:
        """(B, out_channels, H // 2, W // 2) of (B, in_channels, H, W).

        Args:
            images: (B, in_channels, H, W) floats.
        """
        hidden = F.gelu(self.norms[0](F.max_pool2d(self.convs[0](images), 2)))
        first = hidden
        for i in range(1, len(self.convs)):
            hidden = self.norms[i](self.convs[i](hidden))
            hidden = F.gelu(hidden + first if i == 2 else hidden)
        return hidden


class FastNet(nn.Module):
    """Whitening, three blocks, the largest value of each channel, and a linear layer scaled down.

    Args:
        num_classes: Number of classes, C, the width of the last layer, `fc`.
        in_channels: Channels of the images.
        widths: Channels of the three blocks, none fewer than those before it (24 after the whitening of RGB).
        convs: Convolutions of a block, 2 or 3.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Jordan (2024), 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv:2404.00498: two convolutions of
        64, 256 and 256 channels are its network for 94 %, three of 128, 384 and 512 about that for 96 %.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, widths: Sequence[int] = (64, 256, 256), convs: int = 2
    ) -> None:
        super().__init__()
        check_integer("in_channels", in_channels, at_least=1)
        self.whiten = Whitening(in_channels, 2)
        wanted = (int(width) for width in check_numbers("widths", widths, at_least=1))
        channels = [self.whiten.out_channels, *wanted]
        if len(channels) != 4 or channels != sorted(channels):
            raise ValueError(
                f"`widths` must be three numbers that don't fall, from {channels[0]} = 8 * `in_channels` on, got "
                f"{list(widths)}"
            )
        check_integer("num_classes", num_classes, at_least=1)
        check_integer("convs", convs, at_least=2, at_most=3)
        self.blocks = nn.Sequential(*(FastBlock(channels[i], channels[i + 1], convs) for i in range(3)))
        self.fc = nn.Linear(channels[-1], num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits.

        Args:
            images: (B, in_channels, H, W) normalized floats, H and W of 9 or more.
        """
        hidden = self.blocks(F.gelu(self.whiten(images)))
        logits: Tensor = self.fc(hidden.amax((2, 3))) / 9
        return logits


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
