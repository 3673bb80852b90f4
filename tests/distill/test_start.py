"""How a distillation begins: real images, mosaics, selections, and what doesn't fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distill.conftest import patterns, small_pool

from dynsel.data import TensorImages
from dynsel.distill import NCFM
from dynsel.distill.start import class_table, draw_rows

OPTIONS = {"images_per_class": 2, "num_frequencies": 32, "real_batch": 16, "augment": "crop_cutout"}


def make(data, pool, **options) -> NCFM:
    return NCFM(data, pool, **{**OPTIONS, **options}).to(torch.get_default_dtype())


def test_real_images_are_drawn_at_random():
    """Not the first ones of a class: over many steps every image has its turn, equally often."""
    table = class_table(torch.arange(90) % 3, 3)
    counts = torch.zeros(90)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        counts[draw_rows(table, torch.rand(table.shape, generator=generator), 10).flatten()] += 1
    np.testing.assert_allclose(counts, 200, atol=60)


def test_it_begins_with_real_images(data, pool):
    images = make(data, pool, factor=1, images_per_class=3).images.detach()
    for code in range(4):
        real = data.images[data.targets == code].float() / 255
        for image in images[code]:
            assert float((real - image).abs().amax((1, 2, 3)).min()) < 1e-6
    assert len(images.flatten(0, 1).flatten(1).unique(dim=0)) == 12


def test_mosaics_begin_with_small_real_images(data, pool):
    mosaic = make(data, pool, images_per_class=1).images.detach()[0, 0]
    small = F.interpolate(data.images[data.targets == 0].float() / 255, (4, 4), mode="area")
    for tile in (mosaic[:, :4, :4], mosaic[:, 4:, 4:]):
        assert float((small - tile).abs().amax((1, 2, 3)).min()) < 1e-6


def test_it_may_begin_with_a_selection(tmp_path, data, pool):
    indices = [8, 9, 10, 11, 40, 41, 42, 43]  # two of each class
    (tmp_path / "subset.json").write_text(json.dumps({"indices": indices, "N": 120}))
    images = make(data, pool, factor=1, init=str(tmp_path / "subset.json")).images.detach()
    for code in range(4):
        torch.testing.assert_close(images[code], data.images[[8 + code, 40 + code]].float() / 255)


def test_herding_begins_near_the_mean(data, pool):
    ours, random = (make(data, pool, factor=1, init=i, images_per_class=5).images.detach() for i in ("herding", "real"))
    for code in range(4):
        mean = (data.images[data.targets == code].float() / 255).mean(0)
        assert (ours[code].mean(0) - mean).norm() < (random[code].mean(0) - mean).norm()


def test_more_tiles_than_images_go_around(tmp_path):
    data = patterns(per_class=3)
    images = make(data, small_pool(tmp_path), images_per_class=2).images.detach()
    assert images.shape == (4, 2, 1, 8, 8)
    tiles = images[0].unfold(2, 4, 4).unfold(3, 4, 4).reshape(8, 16)
    assert len(tiles.unique(dim=0)) == 3


LOPSIDED = TensorImages(torch.zeros(7, 1, 8, 8).byte(), torch.tensor([0, 0, 0, 0, 0, 1, 1]), ["cat", "dog"])


GAP = TensorImages(torch.zeros(4, 1, 8, 8).byte(), torch.tensor([0, 0, 2, 2]), ["cat", "dog", "eel"])


ODD = TensorImages(torch.zeros(4, 1, 9, 8).byte(), torch.tensor([0, 0, 1, 1]), ["cat", "dog"])


@pytest.mark.parametrize(
    ("data_", "options", "message"),
    [
        (
            LOPSIDED,
            {"images_per_class": 3},
            "`images_per_class` must be at most the size of the smallest class, 2 of dog",
        ),
        (GAP, {}, "every class must have samples, got none of dog; leave it out of `classes`"),
        (ODD, {}, "`factor` must divide both sides of the images, got 2 for 9x8; use factor 1, or resize to 8x8"),
        (LOPSIDED, {"images_per_class": 0}, "`images_per_class` must be at least 1, got 0"),
        (LOPSIDED, {"real_batch": 0}, "`real_batch` must be at least 1, got 0"),
        (LOPSIDED, {"class_chunk": 0}, "`class_chunk` must be at least 1, got 0"),
        (LOPSIDED, {"patience": 0}, "`patience` must be at least 1, got 0"),
        (LOPSIDED, {"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        (LOPSIDED, {"frequency_lr": -1.0}, "`frequency_lr` must be above 0, got -1.0"),
        (LOPSIDED, {"amplitude": 1.5}, r"`amplitude` must be in \[0, 1\], got 1.5"),
        (LOPSIDED, {"calibration": -1.0}, "`calibration` must be at least 0, got -1.0"),
        (
            LOPSIDED,
            {"init": "herdin"},
            "`init` must be real, herding, noise or the manifest of `dynsel select`, got 'herdin'",
        ),
        (LOPSIDED, {"augment": "blur"}, "`augment` must join names"),
    ],
)
def test_wrong_arguments(tmp_path, data_, options, message):
    with pytest.raises(ValueError, match=message):
        make(data_, small_pool(tmp_path), **options)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"indices": [0], "N": 5}, "`init` must be a selection of these 120 samples, .* is one of 5"),
        ({"indices": [0, 1, 2], "N": 120}, "`init` must name samples of every class, got none of c3 in"),
    ],
)
def test_a_selection_that_does_not_fit(tmp_path, data, pool, manifest, message):
    (tmp_path / "s.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        make(data, pool, init=str(tmp_path / "s.json"))
