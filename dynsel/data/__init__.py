"""Image sets held as one tensor, a set of texts, their data modules, and augmentation by the batch."""

from dynsel._lib.images import TensorImages
from dynsel._lib.normalize import CIFAR10_MEAN, CIFAR10_STD, Normalize
from dynsel.data.augment import RandomCropFlip, crop_flip
from dynsel.data.banking77 import Banking77DataModule, TokenTexts
from dynsel.data.cifar10 import CIFAR10DataModule
from dynsel.data.corrupt import confuse_labels, copy_rows, flip_labels, long_tail
from dynsel.data.digits import DigitsDataModule
from dynsel.data.module import TensorDataModule
from dynsel.distill.dataset import DistilledDataset

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
    "confuse_labels",
    "copy_rows",
    "crop_flip",
    "flip_labels",
    "long_tail",
]
