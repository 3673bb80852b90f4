"""Distilled sets on disk: what comes back, for which loaders, and that nothing changed is taken for the original."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from dynsel import SelectionController
from dynsel.data import DistilledDataset
from dynsel.distill.dataset import save_distilled
from dynsel.distill.mosaic import decode
from dynsel.models import ImageClassifier

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 1, 1, 2, 2])
CLASSES = ["cat", "dog", "eel"]
SOFT = torch.rand(24, 3, generator=torch.Generator().manual_seed(1)).softmax(1)


@pytest.fixture
def folder(tmp_path):
    save_distilled(tmp_path, IMAGES, TARGETS, CLASSES, 2, SOFT, {"steps": 7})
    return tmp_path


def test_mosaics_come_back_decoded_or_as_stored(folder):
    found = DistilledDataset(folder)
    assert torch.equal(found.images, decode(IMAGES, 2).flatten(0, 1))
    assert torch.equal(found.targets, TARGETS.repeat_interleave(4))
    assert (len(found), found.image_shape, found.classes) == (24, (3, 8, 8), CLASSES)
    stored = DistilledDataset(folder / "distilled.json", decode=False)
    assert torch.equal(stored.images, IMAGES)
    assert torch.equal(stored.targets, TARGETS)
    assert stored.manifest["per_class"] == [2, 2, 2]
    assert (stored.manifest["steps"], stored.manifest["synthetic"]) == (7, True)
    assert sorted(p.name for p in folder.iterdir()) == ["distilled.json", "distilled.safetensors"]


def test_soft_labels(folder):
    image, shares = DistilledDataset(folder, soft=True)[5]
    assert torch.equal(shares, SOFT[5])
    image, label = DistilledDataset(folder)[5]
    assert image.dtype == torch.float32
    assert label == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_any_loader_takes_it(folder, workers):
    data = DistilledDataset(folder)
    batches = list(DataLoader(data, batch_size=7, shuffle=True, num_workers=workers))
    assert sum(len(images) for images, _ in batches) == 24
    assert batches[0][1].dtype == torch.int64
    ImageClassifier("small_cnn", 3)(batches[0][0])


def test_samples_can_be_selected_from_it(folder):
    data = DistilledDataset(folder)
    selection = SelectionController("random", keep_ratio=0.5, max_epochs=1, seed=0)
    loader = selection.wrap(DataLoader(data, batch_size=4, shuffle=True))
    loader.sampler.set_epoch(0)
    assert sum(len(labels) for _, labels in loader) == 12


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_found(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("tampered")
    save_distilled(folder, IMAGES, TARGETS, CLASSES)
    path = folder / "distilled.safetensors"
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)
    message = (
        r"distilled.safetensors is not what distilled.json vouches for: .*; one of the two was changed or is damaged"
    )
    with pytest.raises(ValueError, match=message):
        DistilledDataset(folder)


def test_a_manifest_leads_to_no_other_file(folder):
    manifest = json.loads((folder / "distilled.json").read_text())
    (folder / "distilled.json").write_text(json.dumps(manifest | {"file": "../../secret.safetensors"}))
    with pytest.raises(FileNotFoundError, match=r"names secret.safetensors, which is not beside it"):
        DistilledDataset(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"distilled.json is no manifest, or a damaged one"),
        ("[]", "is no manifest of a distilled data set: its format must be 'dynsel distilled 1'"),
        ('{"format": "other"}', "its format must be 'dynsel distilled 1'"),
    ],
)
def test_what_is_no_manifest(folder, text, message):
    (folder / "distilled.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        DistilledDataset(folder)


def test_what_is_not_there(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no distilled data set at .*; `dynsel distill fit` makes one"
    ):
        DistilledDataset(tmp_path)


def test_soft_labels_that_are_not_there(tmp_path):
    save_distilled(tmp_path, IMAGES, TARGETS, CLASSES, 2)
    with pytest.raises(ValueError, match=r"`soft` must be False for .*: it was made without `soft_labels`"):
        DistilledDataset(tmp_path, soft=True)
    save_distilled(tmp_path, IMAGES, TARGETS, CLASSES, 2, SOFT)
    with pytest.raises(ValueError, match=r"`soft` must be False for .*: they belong to decoded images"):
        DistilledDataset(tmp_path, soft=True, decode=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES + 0.5}, r"`images` must be within \[0, 1\] and finite"),
        ({"images": IMAGES * torch.nan}, r"`images` must be within \[0, 1\] and finite"),
        ({"targets": TARGETS[:5]}, r"`targets` \(M,\), got \(6, 3, 8, 8\) and \(5,\)"),
        ({"soft_targets": SOFT[:6]}, r"`soft_targets` must be \(24, 3\), got \(6, 3\)"),
    ],
)
def test_what_cannot_be_saved(tmp_path, change, message):
    given = {"images": IMAGES, "targets": TARGETS, "classes": CLASSES, "factor": 2, **change}
    with pytest.raises(ValueError, match=message):
        save_distilled(tmp_path, **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES * float("nan")}, r"its images must be floats in \[0, 1\]"),
        ({"images": IMAGES * 1e9}, r"its images must be floats in \[0, 1\]"),
        ({"images": IMAGES[0]}, r"it must hold `images` \(M, C, H, W\) and `targets` \(M,\)"),
        ({"targets": TARGETS - 5}, r"its targets must be whole numbers in \[0, 3\)"),
        ({"targets": TARGETS.float()}, r"its targets must be whole numbers in \[0, 3\)"),
        ({"soft_targets": SOFT * float("inf")}, r"its soft targets must be \(24, 3\) shares in \[0, 1\]"),
        ({"soft_targets": SOFT[:5]}, r"its soft targets must be \(24, 3\) shares in \[0, 1\]"),
    ],
)
def test_what_no_distilled_set_could_hold_is_refused(folder, change, message):
    """Even where the checksum is right: somebody may have written both."""
    tensors = {"images": IMAGES, "targets": TARGETS, "soft_targets": SOFT, **change}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "distilled.safetensors")
    manifest = json.loads((folder / "distilled.json").read_text())
    manifest["sha256"] = hashlib.sha256((folder / "distilled.safetensors").read_bytes()).hexdigest()
    (folder / "distilled.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=rf"distilled.safetensors can't be used: {message}"):
        DistilledDataset(folder)


@pytest.mark.parametrize("change", [{"factor": 0}, {"factor": "two"}, {"classes": None}, {"file": 3}, {"sha256": None}])
def test_a_manifest_that_says_what_cannot_be_is_refused(folder, change):
    manifest = json.loads((folder / "distilled.json").read_text())
    (folder / "distilled.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ValueError, match=r"its manifest must name `classes` and a `factor`|it must name its `file`"):
        DistilledDataset(folder)
