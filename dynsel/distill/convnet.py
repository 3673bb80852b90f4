"""The plain convolutional network that dataset distillation is measured with."""

from __future__ import annotations

import math

from torch import Tensor, nn

from dynsel._lib.checks import check_integer

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, instance norm, ReLU and 2x2 average pooling, and a linear layer.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        image_shape: (C, H, W); every block halves H and W, rounding down.
        width: Channels of every block.
        depth: Number of blocks; None: as many as leave a map of 4x4, at least 2 (8 px: 2, 32 px: 3, 64 px: 4).

    Raises:
        ValueError: If a number is out of range or the image too small for the depth.

    Reference:
        Gidaris & Komodakis (2018), arXiv:1804.09458; the form and the sizes are those of Zhao & Bilen (2021),
        Dataset Condensation with Gradient Matching, arXiv:2006.05929.

    Example:
        >>> ConvNet(10, (3, 32, 32)).num_features  # the ConvNet-3 of the tables
        2048
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int], width: int = 128, depth: int | None = None
    ) -> None:
        super().__init__()
        if not isinstance(image_shape, list | tuple) or len(image_shape) != 3:
            raise TypeError(f"`image_shape` must be (channels, height, width), got {image_shape!r}")
        image_shape = (
            check_integer("image_shape", image_shape[0], at_least=1),
            check_integer("image_shape", image_shape[1], at_least=1),
            check_integer("image_shape", image_shape[2], at_least=1),
        )
        channels, height, side = image_shape[0], image_shape[1], min(image_shape[1:])
        depth = max(2, round(math.log2(max(side, 4) / 4))) if depth is None else depth
        for name, value in (("num_classes", num_classes), ("width", width), ("depth", depth), ("channels", channels)):
            check_integer(name, value, at_least=1)
        if side < 2**depth:
            raise ValueError(
                f"`depth` must be at most {int(math.log2(max(side, 1)))} for images of {side} px, got {depth}"
            )
        self.image_shape, self.width, self.depth = image_shape, width, depth
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(width if block else channels, width, 3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
        self.body = nn.Sequential(*layers)
        self.num_features = width * (height >> depth) * (image_shape[2] >> depth)
        self.fc = nn.Linear(self.num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The last map, flattened: what the distilled images are compared by.

        Args:
            images: (B, C, H, W) floats.

        Returns:
            (B, `num_features`) floats.
        """
        hidden: Tensor = self.body(images)
        return hidden.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            images: (B, C, H, W) floats.

        Returns:
            (B, num_classes) logits.
        """
        logits: Tensor = self.fc(self.features(images))
        return logits
