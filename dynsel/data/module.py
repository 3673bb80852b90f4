"""What the data modules share: sets held as one tensor each, on the host or on the accelerator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from dynsel._lib.checks import check_choice, check_flag, check_integer, check_number
from dynsel._lib.images import TensorImages
from dynsel.data.corrupt import altered, confuse_labels, copy_rows, flip_labels, long_tail, partners

__all__ = ["TensorDataModule"]

VAL_BATCH = 1000


class TensorDataModule(pl.LightningDataModule, ABC):
    """Loaders over two `TensorImages`; a subclass says in `load` where they come from.

    Works with a Trainer and without one (call `setup("fit")`, then `train_dataloader()`).

    Args:
        batch_size: Images in a training batch. Validation takes the larger of it and 1,000.
        num_workers: Worker processes; 0 is fast, since a batch is one gather.
        on_device: Keep the images on the Trainer's accelerator, if it has one.
        label_noise: Share of the training labels to make wrong, in [0, 1) (`dynsel.data.flip_labels`).
        imbalance: Size of the largest training class over that of the smallest, at least 1
            (`dynsel.data.long_tail`).
        noise_kind: "symmetric", each other class equally likely, or "confusion", the class that is taken for it
            (`dynsel.data.confuse_labels`).
        duplicates: Share of the training set that are copies of a few others, in [0, 0.8] (`dynsel.data.copy_rows`).
            Samples are copied after the long tail was made and before labels are made wrong.

    Raises:
        ValueError: If an argument is out of range.
    """

    # Classes that are taken for each other; any other is taken for the next one.
    confusions: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(
        self,
        batch_size: int,
        num_workers: int = 0,
        on_device: bool = False,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        noise_kind: str = "symmetric",
        duplicates: float = 0.0,
    ) -> None:
        super().__init__()
        self.batch_size = check_integer("batch_size", batch_size, at_least=1)
        self.num_workers = check_integer("num_workers", num_workers, at_least=0)
        self.on_device = check_flag("on_device", on_device)
        self.label_noise = check_number("label_noise", label_noise, at_least=0, below=1)
        self.imbalance = check_number("imbalance", imbalance, at_least=1)
        self.noise_kind = check_choice("noise_kind", noise_kind, ("symmetric", "confusion"))
        why = "it is the share of the samples that are copies"
        self.duplicates = check_number("duplicates", duplicates, at_least=0, at_most=0.8, why=why)
        self._loaded: tuple[TensorImages, TensorImages] | None = None
        self._sets: tuple[TensorImages, TensorImages] | None = None

    @abstractmethod
    def load(self) -> tuple[TensorImages, TensorImages]:
        """Training and validation set, on the CPU, with the same rows in the same order every time."""

    def prepare_data(self) -> None:
        """Download or decode once per machine."""
        self._host_sets()

    def setup(self, stage: str | None = None) -> None:
        """Load the sets and, with `on_device`, move them to the Trainer's accelerator.

        Args:
            stage: Ignored; every stage needs the same two sets.

        Raises:
            ValueError: If worker processes would have to read from the accelerator.
        """
        device = self._target_device()
        if device.type != "cpu" and self.num_workers:
            raise ValueError(
                f"`num_workers` must be 0 when the images are kept on {device}, got {self.num_workers}: "
                "set num_workers=0 or on_device=False"
            )
        train, val = self._host_sets()
        self._sets = train.to(device), val.to(device)

    @property
    def train_set(self) -> TensorImages:
        """Training images, row i = dataset index i."""
        return self._ready()[0]

    @property
    def val_set(self) -> TensorImages:
        """Validation images."""
        return self._ready()[1]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.train_set.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.train_set.image_shape

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of uint8 images; the last one may be short."""
        return self._loader(self.train_set, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation set in order, in large batches."""
        return self._loader(self.val_set, max(self.batch_size, VAL_BATCH), shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """The validation set: these data sets have no third part."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """The validation set."""
        return self.val_dataloader()

    def _loader(self, data: TensorImages, batch_size: int, shuffle: bool) -> DataLoader[Any]:
        # Pinning pays only where a batch still has to travel, and is an error for tensors that have arrived.
        pin = data.device.type == "cpu" and self._root_device().type == "cuda"
        return DataLoader(
            data,
            batch_size=batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=pin,
            collate_fn=TensorImages.collate,
        )

    def _host_sets(self) -> tuple[TensorImages, TensorImages]:
        if self._loaded is None:
            train, val = self.load()
            self._loaded = self._harder(train), val
        return self._loaded

    def _harder(self, data: TensorImages) -> TensorImages:
        if not self.label_noise and not self.duplicates and self.imbalance == 1:
            return data
        # The same whatever the run's seed: part of the data, not of the training.
        generator, classes = torch.Generator().manual_seed(0), len(data.classes)
        rows = long_tail(data.targets, self.imbalance, classes, generator)
        images, targets, source = data.images[rows], data.targets[rows], None
        if self.duplicates:
            source, kind = copy_rows(len(rows), self.duplicates, generator)
            images, targets = altered(images[source], kind, generator), targets[source]
        if self.noise_kind == "confusion":
            partner = partners(data.classes, self.confusions)
            targets, wrong = confuse_labels(targets, self.label_noise, partner, generator)
        else:
            targets, wrong = flip_labels(targets, self.label_noise, classes, generator)
        return TensorImages(images, targets, data.classes, wrong, source)

    def _ready(self) -> tuple[TensorImages, TensorImages]:
        if self._sets is None:
            raise RuntimeError('the data is not loaded yet: call `setup("fit")` first (a Trainer does it itself)')
        return self._sets

    def _root_device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _target_device(self) -> torch.device:
        return self._root_device() if self.on_device else torch.device("cpu")
