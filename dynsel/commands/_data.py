"""Data sets on a command line: a class path of a data set or a data module, or a folder of images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynsel.commands._arguments import CommandParser

__all__ = ["add_data", "data_words", "find_dataset"]


def add_data(parser: CommandParser, required: bool = True) -> None:
    """Add the options `--data` and `--split`.

    Args:
        parser: Parser of a command.
        required: Whether there must be data.
    """
    from lightning.pytorch import LightningDataModule
    from torch.utils.data import Dataset

    parser.add_subclass_arguments((LightningDataModule, Dataset), "data", required=required, help="what to describe")
    parser.add_argument("--split", type=str, default="train", help="of a data module: train, val, test or predict")


def data_words(name: str) -> list[str]:
    """What stands behind `--data`, a folder of images as the data set that it is.

    Args:
        name: Class path or folder.

    Raises:
        FileNotFoundError: If it is the path of a folder that isn't there.
    """
    if os.path.isdir(name):
        return ["torchvision.datasets.ImageFolder", "--data.root", name]
    if os.sep in name and not name.startswith("{"):
        raise FileNotFoundError(f"there is no data folder {name}")
    return [name]


def find_dataset(data: Any, split: str = "train") -> Any:
    """The data set itself, or that of a data module's loader.

    Args:
        data: Data set or LightningDataModule.
        split: Which of its loaders: "train", "val", "test" or "predict".

    Raises:
        ValueError: If it has no such loader, or several.
    """
    from lightning.pytorch import LightningDataModule

    stages = {"train": "fit", "val": "fit", "test": "test", "predict": "predict"}
    if split not in stages:
        raise ValueError(f"`split` must be one of {', '.join(stages)}, got {split!r}")
    if not isinstance(data, LightningDataModule):
        if split != "train":
            kind = type(data).__name__
            raise ValueError(f"`split` is of a data module, got {split!r} for a data set ({kind}): leave it out")
        return data
    data.prepare_data()
    data.setup(stages[split])
    dataset = getattr(getattr(data, f"{split}_dataloader")(), "dataset", None)
    if dataset is None:
        raise ValueError(f"{type(data).__name__}.{split}_dataloader() must return one DataLoader with a data set")
    return dataset
