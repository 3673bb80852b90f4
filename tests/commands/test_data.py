"""Data sets on a command line."""

from __future__ import annotations

import pytest

from dynsel.commands._data import data_words, find_dataset
from dynsel.data import DigitsDataModule


def test_folders_are_image_folders(tmp_path) -> None:
    assert data_words(str(tmp_path)) == ["torchvision.datasets.ImageFolder", "--data.root", str(tmp_path)]
    assert data_words("my.Data") == ["my.Data"]
    with pytest.raises(FileNotFoundError, match="there is no data folder photos/2020"):
        data_words("photos/2020")


def test_the_set_of_a_data_modules_loader() -> None:
    assert len(find_dataset(DigitsDataModule())) == 1347
    assert len(find_dataset(DigitsDataModule(), "val")) == 450
    assert find_dataset(range(3)) == range(3)
    with pytest.raises(ValueError, match="`split` must be one of train, val, test, predict, got 'x'"):
        find_dataset(DigitsDataModule(), "x")
