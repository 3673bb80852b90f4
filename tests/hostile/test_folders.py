"""A folder of images without classes: one line with the way out, wherever it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WAY_OUT = (
    "images must lie in a folder for each class, {0}/<class>/<image>; where there are no classes, in a single one, "
    "such as {0}/all/"
)
PHOTOS = ("-c", "c.yaml", "--data", "hostile.training.Photos", "--data.root")


@pytest.mark.parametrize("folder", ["flat", "flat/", "empty"])
@pytest.mark.parametrize(
    "words",
    [
        ("features", "extract", "--extractor", "pixels", "--out", "x.npy", "--data"),
        (
            *("features", "extract", "--extractor", "pixels", "--out", "x.npy", "--data"),
            *("torchvision.datasets.ImageFolder", "--data.root"),
        ),
        ("features", "verify", "x.npy", "--data"),
        ("features", "atlas", "--features", "f.npy", "--out", "atlas", "--data"),
        ("fit", *PHOTOS),
        ("compare", "--out", "c", *PHOTOS),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_it_is_told_with_the_way_out(
    words: tuple[str, ...], folder: str, here: Path, command: Callable[..., tuple[int, list[str], str]]
) -> None:
    if words[1] == "verify":
        assert command("features", "extract", "--data", "photos", "--extractor", "pixels", "--out", "x.npy")[0] == 0
    code, errors, said = command(*words, folder)
    assert code == 2, said
    assert len(errors) == 1, said
    assert WAY_OUT.format(folder.rstrip("/")) in errors[0]


def test_the_way_out_is_one(here: Path, command: Callable[..., tuple[int, list[str], str]]) -> None:
    (here / "photographs").mkdir()
    (here / "photographs" / "all").symlink_to(here / "flat")
    code, _, said = command("features", "extract", "--data", "photographs", "--extractor", "pixels", "--out", "x.npy")
    assert code == 0, said
    assert "x.npy: 20 x" in said
