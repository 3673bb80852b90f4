from __future__ import annotations

import json

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from dynsel.features import describe_difference, fingerprint

DATA = TensorDataset(torch.arange(40.0).view(20, 2), torch.arange(20) % 2)


def test_stable_and_json():
    assert fingerprint(DATA) == json.loads(json.dumps(fingerprint(DATA)))
    assert describe_difference(fingerprint(DATA), fingerprint(DATA)) is None


def test_length_order_and_content_are_told_apart():
    whole = fingerprint(DATA)
    assert describe_difference(whole, fingerprint(Subset(DATA, range(19)))) == (
        "it has 19 samples, the features are of 20"
    )
    shuffled = fingerprint(Subset(DATA, np.random.default_rng(0).permutation(20).tolist()))
    assert describe_difference(whole, shuffled) == "the labels or their order and the samples or their order differ"
    other = fingerprint(TensorDataset(DATA.tensors[0] + 1, DATA.tensors[1]))
    assert describe_difference(whole, other) == "the samples or their order differ"


def test_random_augmentation_leaves_the_items_out():
    class Noisy(TensorDataset):
        def __getitem__(self, i):
            return self.tensors[0][i] + torch.rand(()), self.tensors[1][i]

    assert "items" not in fingerprint(Noisy(*DATA.tensors))


def test_image_folder(tmp_path):
    from torchvision.datasets import ImageFolder

    for name, value in (("a/1.png", 0), ("a/2.png", 50), ("b/1.png", 100)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / name)
    before = fingerprint(ImageFolder(tmp_path))
    assert set(before) == {"length", "classes", "labels", "files", "items"}
    (tmp_path / "a/2.png").rename(tmp_path / "a/3.png")
    assert describe_difference(before, fingerprint(ImageFolder(tmp_path))) == "the files or their order differ"
