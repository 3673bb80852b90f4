"""Sheets of the images used most and least."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from reports import N, fits_the_page, images

from dynsel._lib.sheets import image_sheet, pixels, sheet_data
from dynsel.data import TensorImages


@pytest.fixture(scope="module", name="images")
def _images() -> TensorImages:
    return images()


def test_sheet_shows_most_and_least_used(images: TensorImages) -> None:
    usage = np.arange(N)
    figure = image_sheet(usage, images, title="rrd", columns=5, rows=1)
    most, least = figure.subfigs
    counts = [[int(axes.get_title().split("\n")[1].rstrip("×")) for axes in half.axes] for half in (most, least)]
    assert counts == [[59, 58, 57, 56, 55], [0, 1, 2, 3, 4]]
    assert most.axes[0].get_title().startswith("an unusua…")
    assert least.axes[0].get_title().startswith("airplane")
    shown = np.asarray(least.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, images.images[0].permute(1, 2, 0).numpy())
    assert fits_the_page(figure)


def test_sheet_of_grey_normalized_images() -> None:
    class Data:
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.linspace(-2, 2, 16).view(1, 4, 4), 7

    figure = image_sheet(np.arange(4), Data(), columns=2, rows=1)
    shown = np.asarray(figure.subfigs[0].axes[0].images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 255)
    assert figure.subfigs[0].axes[0].get_title() == "7\n3×\n#3"


GREY = np.array([[0, 256, 514, 257 * 100, 257 * 200, 65535]] * 5, dtype=np.uint16)
BYTES = np.array([[0, 1, 2, 100, 200, 255]] * 5, dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.int32)),
        GREY,
        GREY.astype(">u2"),
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[None].expand(3, -1, -1),
        np.stack([GREY] * 3, axis=-1),
    ],
    ids=["I;16", "I", "array", "big-endian", "tensor", "channels first", "channels last"],
)
def test_images_of_16_bits_are_scaled(image) -> None:
    np.testing.assert_array_equal(pixels(image), np.repeat(BYTES[..., None], 3, axis=-1))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_small_numbers_in_many_bits_stay(dtype) -> None:
    np.testing.assert_array_equal(pixels(Image.fromarray(BYTES.astype(dtype)))[..., 0], BYTES)


def test_larger_and_floating_pictures_fit_in() -> None:
    assert pixels(Image.fromarray(np.array([[-5, 0, 10**6]], dtype=np.int32)))[0, :, 0].tolist() == [0, 0, 255]
    floats = np.array([[np.nan, 0, 30000, 60000]], dtype=np.float32)
    assert pixels(Image.fromarray(floats))[0, :, 0].tolist() == [0, 0, 128, 255]


def test_captions_have_index_and_the_end_of_the_path(images: TensorImages) -> None:
    paths = [f"/data/train/class_{i % 3}/image_{i:04d}.png" for i in range(N)]
    figure = image_sheet(np.arange(N), images, columns=5, rows=1, paths=paths)
    first = figure.subfigs[0].axes[0]
    assert first.get_title().split("\n")[1:] == ["59×", "#59", "…_0059.png"]
    assert first.get_gid() == "59"
    assert fits_the_page(figure)
    assert sheet_data(np.arange(N), images, 5, paths)[0]["path"] == paths[59]
    assert "path" not in sheet_data(np.arange(N), images, 5)[0]


CLASSES = ["car", "truck"]


@pytest.mark.parametrize(
    ("label", "classes", "name"),
    [
        (1, CLASSES, "truck"),
        (torch.tensor([1]), CLASSES, "truck"),
        (np.int64(0), CLASSES, "car"),
        (1.0, CLASSES, "truck"),
        (7, None, "7"),
        (-1, CLASSES, "-1"),  # a sample without a label, and not the last class
        (2, CLASSES, "2"),
        (0.73, None, "0.73"),
        (torch.tensor(float("nan")), CLASSES, "nan"),
        ("cat", CLASSES, "cat"),
        (torch.zeros(4), CLASSES, ""),
        ({"boxes": 1}, None, ""),
        (None, CLASSES, ""),
    ],
)
def test_targets_of_any_kind_are_named_or_left_out(label: object, classes: list[str] | None, name: str) -> None:
    class Data:
        def __getitem__(self, index: int) -> tuple[torch.Tensor, object]:
            return torch.rand(3, 8, 8), label

    data = Data()
    if classes is not None:
        data.classes = classes  # type: ignore[attr-defined]
    figure = image_sheet(np.arange(4), data, columns=2, rows=1)
    assert figure.subfigs[0].axes[0].get_title().split("\n")[0] == name
