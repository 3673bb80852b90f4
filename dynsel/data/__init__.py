"""Image sets held as one tensor, their data modules, and augmentation by the batch."""

from dynsel.data.augment import Normalize, RandomCropFlip, crop_flip
from dynsel.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD, CIFAR10DataModule
from dynsel.data.corrupt import flip_labels, long_tail
from dynsel.data.digits import DigitsDataModule
from dynsel.data.distilled import DistilledDataset
from dynsel.data.images import TensorImages
from dynsel.data.module import TensorDataModule

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "CIFAR10DataModule",
    "DigitsDataModule",
    "DistilledDataset",
    "Normalize",
    "RandomCropFlip",
    "TensorDataModule",
    "TensorImages",
    "crop_flip",
    "flip_labels",
    "long_tail",
]
