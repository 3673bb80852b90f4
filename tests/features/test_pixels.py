"""Pixel features against scikit-learn's exact PCA, for every kind of image data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch.utils.data import Dataset, Subset

from dynsel._lib.images import TensorImages
from dynsel.features import pixel_features

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3), dtype=np.uint8)


class Items(Dataset[Any]):
    """Items made one by one."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Batched(Items):
    """Items that come by the batch, as a list."""

    def __init__(self, items: Sequence[Any]) -> None:
        super().__init__(items)
        self.asked: list[int] = []

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked.append(len(indices))
        return [self.items[i] for i in indices]


class Stacked(Items):
    """Items that come as finished batches, in a mapping."""

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return {"image": torch.stack([self.items[i] for i in indices])}


def digits() -> np.ndarray:
    return load_digits().images.astype(np.float32)


def test_against_exact_pca() -> None:
    images = digits()
    rows = images.reshape(len(images), -1)
    features = pixel_features(Items(images), components=8, batch_size=500)
    exact = PCA(8, svd_solver="full").fit(rows)
    expected = exact.transform(rows)
    assert features.dtype == np.float32
    # The same components in the same order; a sign may differ where two loadings are about equally large.
    cosine = (features * expected).sum(0) / np.linalg.norm(features, axis=0) / np.linalg.norm(expected, axis=0)
    assert np.abs(cosine[:5]).min() > 0.99
    assert features.var(0, ddof=1).sum() > 0.995 * exact.explained_variance_.sum()


def test_one_batch_is_the_exact_pca() -> None:
    images = digits()[:300]
    rows = images.reshape(300, -1)
    exact = PCA(6, svd_solver="full").fit_transform(rows)
    np.testing.assert_allclose(pixel_features(Items(images), 6, 300), exact, atol=1e-3)


def test_the_same_images_give_the_same_components() -> None:
    first = pixel_features(Items(digits()), 5)
    np.testing.assert_array_equal(first, pixel_features(Items(digits()), 5))


@pytest.mark.parametrize(
    "dataset",
    [
        Items([(Image.fromarray(pixels), 1) for pixels in PIXELS]),
        Items([[pixels, 1] for pixels in PIXELS]),
        Items([{"label": 1, "image": pixels} for pixels in PIXELS]),
        Items([torch.from_numpy(pixels / 255) for pixels in PIXELS]),
        Items([torch.from_numpy(pixels / 255).bfloat16().requires_grad_() for pixels in PIXELS]),
        Batched([(pixels, 1) for pixels in PIXELS]),
        Stacked(torch.from_numpy(PIXELS)),
        Subset(Batched([(pixels, 1) for pixels in PIXELS]), range(30)),
        TensorImages(torch.from_numpy(PIXELS), torch.zeros(30, dtype=torch.int64), ["a"]),
        Subset(TensorImages(torch.from_numpy(PIXELS), torch.zeros(30, dtype=torch.int64), ["a"]), list(range(30))),
    ],
    ids=["pil", "array", "mapping", "tensor", "bfloat16", "getitems", "stacked", "subset", "images", "images-subset"],
)
def test_any_kind_of_images(dataset: Any) -> None:
    expected = PCA(4, svd_solver="full").fit_transform(PIXELS.reshape(30, -1) / 255)
    features = pixel_features(dataset, 4)
    np.testing.assert_allclose(features, expected, atol=0.05 if dataset[0] is dataset[0] else 1e-4)


def test_palette_images_become_colours() -> None:
    palette = Image.fromarray(PIXELS[0]).convert("P")
    items = [palette, *(Image.fromarray(pixels) for pixels in PIXELS[1:])]
    assert pixel_features(Items(items), 4).shape == (30, 4)


@pytest.mark.parametrize(
    ("n", "size", "blocks"), [(30, 10, [10, 10, 10]), (29, 10, [10, 19]), (7, 10, [7]), (3, 2, [3])]
)
def test_blocks_and_small_remainders(n: int, size: int, blocks: list[int]) -> None:
    dataset = Batched([(pixels, 1) for pixels in PIXELS[:n]])
    features = pixel_features(dataset, 2, size)
    assert features.shape == (n, 2)
    assert dataset.asked == [1, *blocks, *blocks]


@pytest.mark.parametrize(
    ("n", "shape", "components", "width"), [(5, (4, 5, 3), 64, 5), (30, (2, 1), 64, 2), (1, (3,), 9, 1)]
)
def test_no_more_components_than_there_are(n: int, shape: tuple[int, ...], components: int, width: int) -> None:
    images = np.random.default_rng(0).random((n, *shape), dtype=np.float32)
    features = pixel_features(Items(images), components)
    assert features.shape == (n, width)
    assert np.isfinite(features).all()


def test_global_generators_are_left_alone() -> None:
    class Noisy(Items):
        def __getitem__(self, i: int) -> Any:
            return torch.rand(3) + random.random() + float(np.random.rand())  # noqa: NPY002

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    pixel_features(Noisy([0] * 10), 2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


def test_a_bar_shows_both_passes(capfd: pytest.CaptureFixture[str]) -> None:
    plain = pixel_features(Items(digits()), 3)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(pixel_features(Items(digits()), 3, progress_bar=True), plain)
    assert capfd.readouterr().out == ""


def test_items_of_different_shapes() -> None:
    items = [torch.zeros(3, 4, 4)] * 20
    items[13] = torch.zeros(3, 4, 5)
    text = r"items must have one shape, got \(3, 4, 4\) for item 0 and \(3, 4, 5\) for item 13; add a Resize"
    with pytest.raises(ValueError, match=text):
        pixel_features(Items(items), 2, 5)


@pytest.mark.parametrize(
    ("items", "options", "error", "text"),
    [
        ([], {}, ValueError, "`dataset` must have at least one item"),
        (PIXELS, {"components": 0}, ValueError, "`components` must be at least 1, got 0"),
        (PIXELS, {"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
        (
            ["text"],
            {},
            TypeError,
            r"items must be images \(tensor, array or PIL\) or tuples that begin with one, got str",
        ),
        ([{"text": 1}], {}, TypeError, r"items must hold their input under one of .* got the keys \['text'\]"),
    ],
)
def test_wrong_options_are_named(items: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        pixel_features(Items(items), **options)


def test_an_iterable_data_set_is_refused() -> None:
    with pytest.raises(TypeError, match="`dataset` must be map-style"):
        pixel_features(iter([]))


def test_components_of_many_images_are_those_of_ten_thousand() -> None:
    pixels = np.random.default_rng(0).normal(size=(25_000, 3, 4)).astype(np.float32)
    pixels *= np.arange(1, 5)  # some directions vary more
    dataset = Batched(list(pixels))
    features = pixel_features(dataset, 5)
    assert sum(dataset.asked) == 10_000 + 25_000 + 1
    exact = PCA(5, svd_solver="full").fit(pixels.reshape(25_000, -1)).explained_variance_.sum()
    assert features.shape == (25_000, 5)
    assert features.var(0, ddof=1).sum() > 0.97 * exact


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_named(value: float) -> None:
    images = digits()[:300]
    images[290, 0, 0] = value
    with pytest.raises(ValueError, match="got NaN or infinity in item 290"):
        pixel_features(Items(images), 2)


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must have pixels, got an image of shape \(1, 0, 4\) for item 0"):
        pixel_features(Items([np.zeros((1, 0, 4), dtype=np.float32)] * 10), 2)


@pytest.mark.filterwarnings("error")
def test_images_that_are_all_the_same_warn_of_nothing() -> None:
    assert np.isfinite(pixel_features(Items([np.full((1, 8, 8), 0.1, np.float32)] * 600), 4, 17)).all()
