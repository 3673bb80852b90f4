"""The CIFAR ResNets: layout and, with the pretrained weights at hand, the features and accuracy they are known for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dynsel.features.extract import extract
from dynsel.features.extractors import ModuleInput
from dynsel.models import CIFARResNet

SHARED = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
WEIGHTS, FEATURES = SHARED / "cifar10-resnet56.safetensors", SHARED / "cifar10-resnet56-features.npz"
needs_weights = pytest.mark.skipif(
    not (WEIGHTS.is_file() and FEATURES.is_file() and (SHARED / "cifar10-test.tar.gz").is_file()),
    reason="the pretrained network and CIFAR-10 are not in $DYNSEL_TEST_DATA or ../shared/data",
)


def encoder() -> ModuleInput:
    return ModuleInput(CIFARResNet(56), str(WEIGHTS), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_the_size_is_the_published_one(depth: int, parameters: int) -> None:
    """As the paper counts them: 0.27 and 0.85 million."""
    net = CIFARResNet(depth)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_depth_must_be_6n_plus_2() -> None:
    with pytest.raises(ValueError, match="`depth` must be 6n \\+ 2, as in 20, 32, 44, 56, got 57"):
        CIFARResNet(57)


def _check(split: str, rows: np.ndarray | None, tmp_path: Path) -> float:
    """Features against those that come with the weights; returns the accuracy of the network's own classifier."""
    from torch.utils.data import Subset

    from dynsel.data import CIFAR10DataModule

    data = CIFAR10DataModule(SHARED)
    data.setup("fit")
    dataset = data.val_set if split == "test" else data.train_set
    rows = np.arange(len(dataset)) if rows is None else rows
    net = encoder()
    store = extract(Subset(dataset, rows.tolist()), net, tmp_path / "f.npy", accelerator="cpu")
    with np.load(FEATURES) as known:
        np.testing.assert_allclose(store.features, known[f"{split}_features"][rows], atol=0.02)
        labels = torch.from_numpy(known[f"{split}_labels"][rows].astype(np.int64))
    with torch.inference_mode():
        logits = net.model.linear(torch.tensor(store.features).float())
    return float((logits.argmax(1) == labels).float().mean())


@needs_weights
def test_pretrained_features_of_some_images(tmp_path: Path) -> None:
    assert _check("test", np.arange(0, 10_000, 100), tmp_path) > 0.85


@needs_weights
@pytest.mark.long
def test_pretrained_accuracy(tmp_path: Path) -> None:
    assert _check("test", None, tmp_path) == pytest.approx(0.9339, abs=1e-9)
