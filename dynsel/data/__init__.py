"""Image sets held as one tensor, a set of texts, their data modules, and augmentation by the batch."""

from dynsel.data.augment import Normalize, RandomCropFlip, crop_flip
from dynsel.data.banking77 import Banking77DataModule, TokenTexts
from dynsel.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD, CIFAR10DataModule
from dynsel.data.corrupt import flip_labels, long_tail
from dynsel.data.digits import DigitsDataModule
from dynsel.data.distilled import DistilledDataset
from dynsel.data.images import TensorImages
from dynsel.data.module import TensorDataModule

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "Banking77DataModule",
    "CIFAR10DataModule",
    "DigitsDataModule",
    "DistilledDataset",
    "Normalize",
    "RandomCropFlip",
    "TensorDataModule",
    "TensorImages",
    "TokenTexts",
    "crop_flip",
    "flip_labels",
    "long_tail",
]
