"""Items of any map-style data set: images in [0, 1], batches taken apart, nobody's draws disturbed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from dynsel.features._items import (
    as_float_image,
    check_dataset,
    get_images,
    get_items,
    input_of,
    preserved_rng,
)


@pytest.mark.parametrize(
    "image",
    [
        np.full((2, 2), 51, np.uint8),
        torch.full((2, 2), 0.2, dtype=torch.bfloat16),
        np.full((2, 2), 13107, np.uint16),
        Image.new("L", (2, 2), 51),
        np.full((2, 2), 0.2),
    ],
)
def test_every_kind_of_image_is_of_one_scale(image):
    found = as_float_image(image)
    np.testing.assert_allclose(found, 0.2, atol=1e-3)
    assert found.dtype == np.float32


def test_palettes_are_no_brightness():
    image = Image.new("P", (1, 1), 0)
    image.putpalette([10, 20, 30] + [0] * 765)
    np.testing.assert_allclose(as_float_image(image)[0, 0] * 255, [10, 20, 30], rtol=1e-6)


@pytest.mark.parametrize(
    ("item", "found"), [((1, 2), 1), ([3], 3), ({"label": 0, "img": 4}, 4), (5, 5), ((), ()), ("text", "text")]
)
def test_the_input_of_an_item(item, found):
    assert input_of(item) == found


def test_a_mapping_without_an_input():
    with pytest.raises(TypeError, match=r"under one of \('image', 'img', 'pixel_values'\), got the keys \['label'\]"):
        input_of({"label": 1})
    with pytest.raises(TypeError, match=r"items must be images .* got str; give features"):
        as_float_image("cat.png")


class Batches(list):
    """Gathers a whole batch at once, as a tensor beside its labels."""

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.stack([self[i] for i in indices]), torch.tensor(indices)


def test_a_finished_batch_is_taken_apart():
    images = [torch.full((1, 2), i / 8) for i in range(4)]
    for dataset in (images, Batches(images)):
        assert [image.tolist() for image in get_images(dataset, [3, 1])] == [[[0.375] * 2], [[0.125] * 2]]
    assert [float(item[0, 0]) for item in get_items(Batches(images), [2])] == [0.25]


def test_draws_of_a_data_set_leave_no_trace():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    wanted = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    with preserved_rng():
        _ = random.random(), np.random.rand(9), torch.rand(9)  # noqa: NPY002
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == wanted  # noqa: NPY002


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [(iter([1]), TypeError, "`dataset` must be map-style"), ([], ValueError, "must have at least one item, got none")],
)
def test_what_has_no_items_by_number(dataset, error, message):
    with pytest.raises(error, match=message):
        check_dataset(dataset)
