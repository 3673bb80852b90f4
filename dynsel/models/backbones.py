"""torchvision's architectures for 32x32 images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

__all__ = ["resnet18", "resnet50", "vgg16", "vit_tiny"]


def resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    """torchvision's ResNet-18 with the usual stem for 32x32: 3x3 convolution of stride 1, no max pooling.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        in_channels: Channels of the images.

    Raises:
        ImportError: If torchvision is missing.

    Reference:
        He, Zhang, Ren, Sun (2016), arXiv:1512.03385.
    """
    return _for_small_images(_models("resnet18").resnet18(num_classes=num_classes), in_channels)


def resnet50(num_classes: int, in_channels: int = 3) -> nn.Module:
    """torchvision's ResNet-50 with the usual stem for 32x32: 3x3 convolution of stride 1, no max pooling.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        in_channels: Channels of the images.

    Raises:
        ImportError: If torchvision is missing.

    Reference:
        He, Zhang, Ren, Sun (2016), arXiv:1512.03385.
    """
    return _for_small_images(_models("resnet50").resnet50(num_classes=num_classes), in_channels)


def _for_small_images(resnet: nn.Module, in_channels: int) -> nn.Module:
    resnet.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    resnet.maxpool = nn.Identity()
    return resnet


def vgg16(num_classes: int, in_channels: int = 3) -> nn.Module:
    """The convolutions of torchvision's VGG-16 with batch norm, then one linear layer, as is usual for 32x32.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        in_channels: Channels of the images, of at least 32x32.

    Raises:
        ImportError: If torchvision is missing.

    Reference:
        Simonyan, Zisserman (2015), arXiv:1409.1556.
    """
    vgg = _models("vgg16").vgg
    # Without the linear layers of 123 million weights that go with larger images.
    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=True)
    if in_channels != 3:
        features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(**parts, fc=nn.Linear(512, num_classes)))


def vit_tiny(num_classes: int, in_channels: int = 3, image_size: int = 32, patch_size: int = 4) -> nn.Module:
    """torchvision's vision transformer of 12 layers with 3 heads of 64, in patches of 4x4.

    Args:
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        patch_size: Side of a patch; divides the image's.

    Raises:
        ImportError: If torchvision is missing.

    Reference:
        Dosovitskiy et al. (2021), arXiv:2010.11929; Touvron et al. (2021), arXiv:2012.12877 (the tiny size).
    """
    body: nn.Module = _models("vit_tiny").VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=12,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=num_classes,
    )
    if in_channels != 3:
        body.conv_proj = nn.Conv2d(in_channels, 192, patch_size, patch_size)
    body.heads = nn.Identity()
    # torchvision starts its last layer at 0, where all samples have the same loss.
    fc = nn.Linear(192, num_classes)
    nn.init.trunc_normal_(fc.weight, std=0.02)
    nn.init.zeros_(fc.bias)
    return nn.Sequential(OrderedDict(body=body, fc=fc))


def _models(name: str) -> Any:
    try:
        from torchvision import models  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(f"`{name}` needs torchvision: pip install torchvision") from error
    return models
