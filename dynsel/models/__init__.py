"""Models and an ordinary LightningModule to try data selection on."""

from dynsel.models.backbones import resnet50, vgg16, vit_tiny
from dynsel.models.classifier import ARCHITECTURES, ImageClassifier, Schedule, build_model
from dynsel.models.convnet import ConvNet
from dynsel.models.resnet import resnet18, small_cnn, small_resnet

__all__ = [
    "ARCHITECTURES",
    "ConvNet",
    "ImageClassifier",
    "Schedule",
    "build_model",
    "resnet18",
    "resnet50",
    "small_cnn",
    "small_resnet",
    "vgg16",
    "vit_tiny",
]
