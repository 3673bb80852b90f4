"""The large architectures: torchvision's own, but for what 32x32 images need."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynsel.models import build_model, resnet50, vgg16, vit_tiny

models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "vit_tiny"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_gradients_and_last_layer(name: str, channels: int) -> None:
    model = build_model(name, num_classes=7, in_channels=channels)
    seen = []
    model.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    logits = model(torch.randn(2, channels, 32, 32))
    assert logits.shape == (2, 7)
    assert seen == [(2, model.fc.in_features)]
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert len(logits.unique(dim=0)) == 2, "all samples alike"


def test_they_are_torchvisions() -> None:
    ours, theirs = resnet50(10).state_dict(), models.resnet50(num_classes=10).state_dict()
    assert {k for k in theirs if ours[k].shape != theirs[k].shape} == {"conv1.weight"}
    ours, theirs = vgg16(10)[0].state_dict(), models.vgg.make_layers(models.vgg.cfgs["D"], True).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_the_transformer_has_the_published_size() -> None:
    """5.7 million at 224 pixels and 1,000 classes; here without most positions, patches of 4 and 10 classes."""
    model = vit_tiny(10)
    blocks = sum(p.numel() for p in model[0].encoder.layers.parameters())
    assert blocks == 12 * (4 * 192 * 192 + 4 * 192 + 2 * 192 * 768 + 192 + 768 + 4 * 192)
    assert isinstance(model.fc, nn.Linear)
    with pytest.raises(ValueError, match="`width` must be None for 'vit_tiny', whose width is fixed, got 8"):
        build_model("vit_tiny", 10, width=8)
