"""Copies of images that were moved, or made darker, and what only looks alike."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.graph import nearest_neighbours
from dynsel.samplers.findings.aligned import aligned_groups
from dynsel.samplers.findings.inputs import channels_first, thumbnails

COUNT = 120


def pictures(side: int, channels: int = 3) -> torch.Tensor:
    """Smooth images on a canvas a quarter larger than `side`."""
    noise = torch.rand(COUNT, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return 255 * F.interpolate(noise, size=side + side // 4, mode="bicubic", align_corners=False).clamp(0, 1)


def groups_of(images: np.ndarray) -> list[int]:
    distances, indices = nearest_neighbours(thumbnails(images), 10)
    groups = aligned_groups(images, distances, indices)
    assert groups is not None
    return groups.tolist()


@pytest.mark.parametrize("side", [28, 32, 50])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_copy_that_was_moved_and_darkened_is_found(side: int, data: st.DataObject) -> None:
    reach = side // 8
    down, right = (data.draw(st.integers(-reach, reach)) for _ in range(2))
    light = data.draw(st.floats(0.85, 1.0))
    row = data.draw(st.integers(0, COUNT - 1))
    canvas, edge = pictures(side), side // 8
    images = canvas[:, :, edge : edge + side, edge : edge + side]
    copy = light * canvas[row, :, edge + down : edge + down + side, edge + right : edge + right + side]
    assert groups_of(torch.cat([images, copy[None]]).byte().numpy()) == [*range(COUNT), row]


@pytest.mark.parametrize("layout", ["first", "last", "grey", "floats"])
def test_any_layout(layout: str) -> None:
    canvas = pictures(32)
    images = torch.cat([canvas[:, :, 4:36, 4:36], canvas[:4, :, 6:38, 3:35]])
    shown = {
        "first": images.byte(),
        "last": images.byte().movedim(1, 3),
        "grey": images[:, 0].byte(),
        "floats": images / 255,
    }[layout]
    first = channels_first(shown.numpy())
    assert first is not None
    assert groups_of(first) == [*range(COUNT), *range(4)]


def test_what_is_alike_in_brightness_alone_is_no_copy() -> None:
    plain = torch.arange(COUNT).float()[:, None, None, None].expand(COUNT, 3, 32, 32)
    noise = torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert groups_of((plain + noise).numpy()) == [*range(COUNT)]


def test_the_same_in_another_colour_is_no_copy() -> None:
    shapes = pictures(32, channels=1)[:, :, :32, :32] / 255
    colours = torch.tensor([[255.0, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]])
    images = torch.cat([shapes * colour[:, None, None] for colour in colours])
    assert groups_of(images.byte().numpy()) == [*range(4 * COUNT)]


@pytest.mark.parametrize(
    ("kind", "unit"),
    [*product([">f4", "<f8", "longdouble"], [1e-6, 1.0, 1e30]), ("float16", 1.0), (">u2", 1.0)],
)
def test_any_number_and_unit(kind: str, unit: float) -> None:
    canvas = pictures(32)
    images = torch.cat([canvas[:, :, 4:36, 4:36], 0.9 * canvas[:4, :, 5:37, 3:35]]).double().numpy()
    assert groups_of((images * unit).astype(kind)) == [*range(COUNT), *range(4)]


def test_images_of_a_single_value_each_are_no_copies_whatever_they_round_to() -> None:
    levels = 65535 * torch.rand(COUNT, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    assert groups_of(levels.expand(COUNT, 3, 32, 32).numpy()) == [*range(COUNT)]


def test_images_of_a_single_value_are_no_copies_of_each_other_here() -> None:
    """Equal ones are found as equal; of others no pattern says that they are the same."""
    images = pictures(32)[:, :, :32, :32].clone()
    images[:3] = torch.tensor([0.0, 80.0, 160.0])[:, None, None, None]
    assert groups_of(images.byte().numpy()) == [*range(COUNT)]


def test_a_pixel_that_is_not_finite_costs_that_image_alone() -> None:
    images = pictures(32)[:, :, :32, :32].clone()
    images = torch.cat([images, images[5:7]])
    images[5, 0, 0, 0], images[9, 1, 3, 3] = torch.nan, torch.inf
    assert groups_of(images.numpy()) == [*range(COUNT), 5, 6]


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 7, 7), (4,)])
def test_what_are_no_images(shape: tuple[int, ...]) -> None:
    assert channels_first(np.zeros(shape)) is None


def test_too_small_to_be_moved() -> None:
    images = pictures(32)[:, :, :7, :7].numpy()
    assert aligned_groups(images, *nearest_neighbours(thumbnails(images), 10)) is None
