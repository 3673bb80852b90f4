"""Handwritten digits that ship with scikit-learn: 1,797 images of 8x8, nothing to download."""

from __future__ import annotations

import numpy as np
import torch

from dynsel._lib.checks import check_integer, check_number
from dynsel._lib.images import TensorImages
from dynsel.data.module import TensorDataModule

__all__ = ["DigitsDataModule"]


class DigitsDataModule(TensorDataModule):
    """`sklearn.datasets.load_digits` as uint8 images of shape (1, 8, 8), ten classes.

    Rows keep scikit-learn's order within each of the two sets.

    Args:
        batch_size: Images in a training batch.
        test_share: Share of the images that makes up the validation set, in [0.006, 0.994]; stratified by class.
        num_workers: Worker processes of the loaders.
        seed: Seed for the split, in [0, 2^32); it determines nothing else.
        on_device: Keep the images on the Trainer's accelerator, if it has one.
        label_noise: Share of the training labels to make wrong, in [0, 1) (`dynsel.data.flip_labels`).
        imbalance: Size of the largest training class over that of the smallest, at least 1
            (`dynsel.data.long_tail`).
        noise_kind: "symmetric", each other class equally likely, or "confusion", the class that is taken for it
            (`dynsel.data.confuse_labels`).
        duplicates: Share of the training set that are copies of a few others, in [0, 0.8] (`dynsel.data.copy_rows`).

    Raises:
        ValueError: If an argument is out of range.
    """

    confusions = (("1", "7"), ("3", "5"), ("8", "9"), ("4", "6"), ("0", "2"))

    def __init__(
        self,
        batch_size: int = 64,
        test_share: float = 0.25,
        num_workers: int = 0,
        seed: int = 0,
        on_device: bool = False,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        noise_kind: str = "symmetric",
        duplicates: float = 0.0,
    ) -> None:
        super().__init__(batch_size, num_workers, on_device, label_noise, imbalance, noise_kind, duplicates)
        why = "each of the ten classes needs an image in both parts"
        self.test_share = check_number("test_share", test_share, at_least=0.006, at_most=0.994, why=why)
        self.seed = check_integer("seed", seed, at_least=0, at_most=2**32 - 1)

    @property
    def num_classes(self) -> int:
        """Ten digits."""
        return 10

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(1, 8, 8)."""
        return 1, 8, 8

    def load(self) -> tuple[TensorImages, TensorImages]:
        """Training and validation set, on the CPU."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        # The grey levels are 0..16.
        images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
        targets = torch.from_numpy(digits.target.astype(np.int64))
        train, val = train_test_split(
            np.arange(len(targets)), test_size=self.test_share, stratify=digits.target, random_state=self.seed
        )
        classes = [str(name) for name in digits.target_names]
        first, second = (
            TensorImages(images[rows], targets[rows], classes)
            for rows in (torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(val)))
        )
        return first, second
