"""The ConvNet: sizes of the tables, instance norm against torch's own, and its limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dynsel.models import ConvNet


@pytest.mark.parametrize(
    ("side", "depth", "features"), [(8, 2, 512), (28, 3, 1152), (32, 3, 2048), (64, 4, 2048), (128, 5, 2048)]
)
def test_the_sizes_are_those_of_the_tables(side, depth, features):
    network = ConvNet(10, (3, side, side))
    assert (network.depth, network.num_features) == (depth, features)
    images = torch.rand(2, 3, side, side)
    assert network.features(images).shape == (2, features)
    assert network(images).shape == (2, 10)


def test_parameters_are_those_of_the_tables():
    """ConvNet-3 for 32x32 and ten classes: 320,010."""
    assert sum(p.numel() for p in ConvNet(10, (3, 32, 32)).parameters()) == 320_010


def test_a_block_is_convolution_instance_norm_relu_and_pooling():
    network = ConvNet(2, (1, 4, 6), width=5, depth=1)
    images = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    conv = network.body[0]
    hidden = F.instance_norm(F.conv2d(images, conv.weight, conv.bias, padding=1), eps=1e-5)
    torch.testing.assert_close(network.features(images), F.avg_pool2d(hidden.relu(), 2).flatten(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 4}, "`depth` must be at most 3 for images of 8 px, got 4"),
        ({"depth": 0}, "`depth` must be at least 1, got 0"),
        ({"width": 0}, "`width` must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(10, (1, 8, 8), **options)
