"""Image classifiers: for a few CPU cores, for 8x8 digits, and the paper's ResNets for CIFAR."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dynsel._lib.checks import check_integer

__all__ = ["CIFARResNet", "ResidualBlock", "SmallCNN", "SmallResNet", "small_cnn", "small_resnet"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, projected where the shape changes.

    Args:
        in_channels: Number of channels that come in.
        out_channels: Number of channels that go out.
        stride: Stride of the first convolution and of the projection.

    Reference:
        He, Zhang, Ren, Sun (2016), arXiv:1512.03385 (option B shortcuts).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Both convolutions, and the shortcut around them.

        Args:
            images: (B, in_channels, H, W) floats.

        Returns:
            (B, out_channels, H / stride, W / stride) floats.
        """
        hidden = F.relu(self.bn1(self.conv1(images)), inplace=True)
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images), inplace=True)


class SmallResNet(nn.Module):
    """Residual network for CPUs: stages of one, one and two blocks, the first at half resolution.

    Halving the resolution in the stem makes a step four times cheaper than in the usual CIFAR ResNets; the
    second block of the last stage costs little, for there the images are smallest.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        width: Channels of the first stage; the others have twice and four times as many.
        in_channels: Channels of the images.
    """

    def __init__(self, num_classes: int, width: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, 4 * width, stride=2),
            ResidualBlock(4 * width, 4 * width),
        )
        self.fc = nn.Linear(4 * width, num_classes)
        _kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            images: (B, in_channels, H, W) floats.

        Returns:
            (B, num_classes) logits.
        """
        features: Tensor = self.blocks(self.stem(images)).mean((2, 3))
        logits: Tensor = self.fc(features)
        return logits


class SmallCNN(nn.Module):
    """Three convolutions with batch norm, for 8x8 digits.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        width: Channels of the first convolution; the others have twice as many.
        in_channels: Channels of the images.
    """

    def __init__(self, num_classes: int, width: int = 16, in_channels: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, out_channels in ((in_channels, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*layers[:6], nn.MaxPool2d(2), *layers[6:])
        self.fc = nn.Linear(2 * width, num_classes)
        _kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            images: (B, in_channels, H, W) floats.

        Returns:
            (B, num_classes) logits.
        """
        features: Tensor = self.features(images).mean((2, 3))
        logits: Tensor = self.fc(features)
        return logits


class _PlainBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes the shortcut takes every second pixel and pads the channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.pad = stride, (out_channels - in_channels) // 2

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(images)), inplace=True)
        shortcut = F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut, inplace=True)


class CIFARResNet(nn.Module):
    """The ResNet of depth 6n + 2 for 32x32 images, in the layout that its published weights have.

    Args:
        depth: Number of layers, of the form 6n + 2: 20, 32, 44, 56, 110, ...
        num_classes: Number of classes, which is the width of the last layer, `linear`.

    Raises:
        ValueError: If the depth isn't 6n + 2.

    Reference:
        He, Zhang, Ren, Sun (2016), arXiv:1512.03385, section 4.2 (option A shortcuts).
    """

    def __init__(self, depth: int = 56, num_classes: int = 10) -> None:
        super().__init__()
        depth, num_classes = check_integer("depth", depth), check_integer("num_classes", num_classes, at_least=1)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"`depth` must be 6n + 2, as in 20, 32, 44, 56, got {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = (depth - 2) // 6
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                _PlainBlock(incoming, width, 2 if incoming != width else 1),
                *(_PlainBlock(width, width, 1) for _ in range(blocks - 1)),
            )
            for incoming, width in ((16, 16), (16, 32), (32, 64))
        )
        self.linear = nn.Linear(64, num_classes)
        _kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            images: (B, 3, H, W) floats.

        Returns:
            (B, num_classes) logits.
        """
        hidden = F.relu(self.bn1(self.conv1(images)), inplace=True)
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.linear(hidden.mean((2, 3)))
        return logits


def small_resnet(num_classes: int, width: int = 16, in_channels: int = 3) -> SmallResNet:
    """A `SmallResNet`: 152,000 parameters at width 16, about 10 s per CIFAR-10 epoch on two CPU cores.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        width: Channels of the first stage.
        in_channels: Channels of the images.
    """
    return SmallResNet(num_classes, width, in_channels)


def small_cnn(num_classes: int, width: int = 16, in_channels: int = 1) -> SmallCNN:
    """A `SmallCNN`: 14,500 parameters at width 16, seconds to train on digits.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        width: Channels of the first convolution.
        in_channels: Channels of the images.
    """
    return SmallCNN(num_classes, width, in_channels)


def _kaiming(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
