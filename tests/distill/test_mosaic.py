"""Mosaics by hand, there and back, and against torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.distill.mosaic import decode, encode


def test_tiles_are_cut_row_by_row():
    mosaic = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])[None]
    tiles = decode(mosaic, 2)
    assert tiles.shape == (4, 1, 4, 4)
    assert tiles.flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3, 4]


def test_a_tile_is_enlarged_bilinearly():
    mosaics = torch.rand(3, 5, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    tiles = decode(mosaics, 2)
    assert tiles.shape == (3, 5, 4, 2, 8, 12)
    second = F.interpolate(mosaics[1, 2, None, :, :4, 6:], (8, 12), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(tiles[1, 2, 1], second)


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_there_and_back(factor, count, channels):
    flat = torch.rand(count, factor**2, channels, 1, 1, generator=torch.Generator().manual_seed(count))
    images = flat.expand(-1, -1, -1, 6, 6)  # images of one colour survive shrinking
    torch.testing.assert_close(decode(encode(images, factor), factor), images.contiguous())


def test_factor_one_is_the_image_itself():
    images = torch.rand(3, 1, 5, 7)
    assert torch.equal(decode(images, 1)[:, 0], images)
    assert torch.equal(encode(images[:, None], 1), images)


def test_the_gradient_reaches_every_pixel():
    mosaic = torch.rand(1, 1, 8, 8, requires_grad=True)
    decode(mosaic, 2).sum().backward()
    assert float(mosaic.grad.min()) > 0
    assert float(mosaic.grad.sum()) == pytest.approx(4 * 64)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (2, r"`factor` must divide both sides of the images, got 2 for 7x8; use factor 1, or resize to 6x8"),
        (0, "`factor` must be at least 1, got 0"),
    ],
)
def test_a_factor_must_divide_the_sides(factor, message):
    with pytest.raises(ValueError, match=message):
        decode(torch.rand(1, 1, 7, 8), factor)


def test_a_mosaic_needs_all_its_tiles():
    with pytest.raises(ValueError, match="`images` must have 4 tiles per mosaic, got 3"):
        encode(torch.rand(1, 3, 1, 8, 8), 2)
