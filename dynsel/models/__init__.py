"""Models and an ordinary LightningModule to try data selection on."""

from dynsel.models.classifier import ARCHITECTURES, ImageClassifier, Schedule, build_model
from dynsel.models.resnet import CIFARResNet, resnet18, small_cnn, small_resnet
from dynsel.models.text import TextClassifier

__all__ = [
    "ARCHITECTURES",
    "CIFARResNet",
    "ImageClassifier",
    "Schedule",
    "TextClassifier",
    "build_model",
    "resnet18",
    "small_cnn",
    "small_resnet",
]
