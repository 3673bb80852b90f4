"""Models and ordinary LightningModules to try data selection on."""

from dynsel.distill.convnet import ConvNet
from dynsel.models.backbones import resnet18, resnet50, vgg16, vit_tiny
from dynsel.models.classifier import ARCHITECTURES, ImageClassifier, Schedule, build_model
from dynsel.models.fast import FastClassifier
from dynsel.models.fast_net import FastNet
from dynsel.models.resnet import CIFARResNet, small_cnn, small_resnet
from dynsel.models.text import TextClassifier

__all__ = [
    "ARCHITECTURES",
    "CIFARResNet",
    "ConvNet",
    "FastClassifier",
    "FastNet",
    "ImageClassifier",
    "Schedule",
    "TextClassifier",
    "build_model",
    "resnet18",
    "resnet50",
    "small_cnn",
    "small_resnet",
    "vgg16",
    "vit_tiny",
]
