import sys

import pytest
import torch
from torch import nn

from dynsel.models import ARCHITECTURES, build_model, resnet18, small_cnn, small_resnet
from dynsel.models.resnet import ResidualBlock


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "side"), [("small_cnn", 1, 8), ("small_resnet", 3, 32), ("resnet18", 3, 16)]
)
def test_shapes_gradients_and_last_layer(name, channels, side):
    model = build_model(name, num_classes=7, in_channels=channels)
    assert isinstance(model.fc, nn.Linear)
    seen = []
    model.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    logits = model(torch.randn(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert seen == [(2, model.fc.in_features)]
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_width_scales_every_layer():
    for build in (small_cnn, small_resnet):
        narrow, wide = build(10, width=8), build(10, width=16)
        assert wide.fc.in_features == 2 * narrow.fc.in_features
        assert 3 < parameters(wide) / parameters(narrow) < 4


def test_initial_weights_follow_the_seed():
    for build in (ARCHITECTURES[name] for name in ("resnet18", "small_cnn", "small_resnet")):
        with torch.random.fork_rng():
            first, second, third = (build(10) for seed in (0, 0, 1) if torch.manual_seed(seed))
        pairs = [list(zip(first.parameters(), m.parameters(), strict=True)) for m in (second, third)]
        assert all(torch.equal(a, b) for a, b in pairs[0])
        assert not all(torch.equal(a, b) for a, b in pairs[1])


def test_block_by_hand():
    block = ResidualBlock(2, 2).eval()
    nn.init.zeros_(block.conv2.weight)
    images = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(block(images), images.relu())


def test_resnet18_is_torchvisions_but_for_its_stem():
    models = pytest.importorskip("torchvision.models")
    ours, theirs = resnet18(10).state_dict(), models.resnet18(num_classes=10).state_dict()
    assert ours.keys() == theirs.keys()
    assert {k for k in ours if ours[k].shape != theirs[k].shape} == {"conv1.weight"}
    sizes = []
    model = resnet18(10)
    model.layer1.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape))
    model(torch.randn(2, 3, 16, 16))
    assert sizes == [(2, 64, 16, 16)]


def test_resnet18_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="`resnet18` needs torchvision: pip install torchvision"):
        resnet18(10)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("resnet8", 10), r"`architecture` must be one of .*small_resnet.*, got 'resnet8'$"),
        (("smallresnet", 10), r"got 'smallresnet'"),
        (("xyz", 10), r"`architecture` must be one of resnet18, .*vit_tiny, got 'xyz'$"),
        (("small_cnn", 0), "`num_classes` must be at least 1, got 0"),
        (("small_cnn", 10, 0), "`in_channels` must be at least 1, got 0"),
        (("small_cnn", 10, 1, 0), "`width` must be at least 1, got 0"),
        (("resnet18", 10, 3, 32), "`width` must be None for 'resnet18', whose width is fixed, got 32"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        build_model(*arguments)
