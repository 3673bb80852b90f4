"""torchvision's models, against the library's own way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from features.extractors.conftest import features, picture
from safetensors.torch import save_file
from support import relative_error
from torch import nn

from dynsel.features.extractors import (
    Torchvision,
)


def test_torchvision_is_the_model_without_its_last_layer() -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    extractor = Torchvision("resnet18", weights=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = resnet18().eval()
    net.fc = nn.Identity()
    image = picture()
    with torch.inference_mode():
        expected = net(ResNet18_Weights.DEFAULT.transforms()(image)[None])
    # A processor may round products to bfloat16; another network or preprocessing is wrong by as much as there is.
    assert relative_error(features(extractor, image), expected) < 0.05
    assert extractor.node == "flatten"
    # Grey and transparent images as what they show.
    assert features(extractor, picture("L"), picture("RGBA")).shape == (2, 512)
    assert relative_error(features(extractor, picture("RGBA")), expected) < 0.05


def test_nodes_by_name() -> None:
    """A map is averaged over its positions; the layer before the last one is found in other families too."""
    assert features(Torchvision("resnet18", None, node="layer2"), picture()).shape == (1, 128)
    assert Torchvision("mobilenet_v3_small", None).node == "classifier.2"
    with pytest.raises(ValueError, match=r"resnet18 has no node 'layer5'; did you mean 'layer4"):
        Torchvision("resnet18", None, node="layer5")
    with pytest.raises(ValueError, match=r"squeezenet1_0 has no linear layer .* name a node; the last ones: \["):
        Torchvision("squeezenet1_0", None)


def test_torchvision_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    net = resnet18().eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    extractor = Torchvision("resnet18", str(tmp_path / "w.safetensors"))
    assert extractor.describe()["pretrained"] == "w.safetensors"
    assert torch.equal(extractor.net.conv1.weight, net.conv1.weight)
    save_file({"conv1.weight": torch.zeros(1), "odd": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(
        ValueError, match=r"doesn't fit ResNet: \d+ missing, first '.*'; 1 unknown, first 'odd'; 1 of ano"
    ):
        Torchvision("resnet18", str(tmp_path / "x.safetensors"))


def test_seeds_are_checked() -> None:
    with pytest.raises(ValueError, match="`seed` must be in"):
        Torchvision(seed=-1)
    with pytest.raises(TypeError, match=r"`seed` must be a whole number, got 0.5"):
        Torchvision(seed=0.5)  # type: ignore[arg-type]


def test_unknown_names_bring_near_ones() -> None:
    with pytest.raises(ValueError, match="no classification model 'resnet51'; did you mean 'resnet50' or"):
        Torchvision("resnet51")
    with pytest.raises(ValueError, match="no weights 'IMAGENET_V1' for resnet18; did you mean 'IMAGENET1K_V1'"):
        Torchvision("resnet18", "IMAGENET_V1")
    with pytest.raises(FileNotFoundError, match=r"there is no weights file nowhere.safetensors"):
        Torchvision("resnet18", "nowhere.safetensors")


def test_torchvision_without_network(no_network: Path) -> None:
    text = (
        r"the weights IMAGENET1K_V1 of resnet18 are not in .*torch/hub/checkpoints and could not be downloaded from "
        r"https://.*resnet18-.*pth \(.*\). Without a network copy resnet18-.*pth into that folder, or give a"
    )
    with pytest.raises(RuntimeError, match=text):
        Torchvision("resnet18")
