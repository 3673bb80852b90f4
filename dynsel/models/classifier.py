"""An ordinary image classifier for Lightning; it knows nothing of data selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torchmetrics.classification import MulticlassAccuracy

from dynsel._lib.checks import check_choice, check_flag, check_integer, check_number, check_numbers, check_text
from dynsel._lib.normalize import Normalize, usual_statistics
from dynsel._lib.trainers import planned_steps
from dynsel.data.augment import RandomCropFlip
from dynsel.models.backbones import resnet18, resnet50, vgg16, vit_tiny
from dynsel.models.resnet import small_cnn, small_resnet

__all__ = ["ARCHITECTURES", "ImageClassifier", "Schedule", "build_model"]

Schedule = Literal["onecycle", "cosine", "step", "constant"]
Optimizer = Literal["sgd", "adamw"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "small_cnn": small_cnn,
    "small_resnet": small_resnet,
    "vgg16": vgg16,
    "vit_tiny": vit_tiny,
}
FIXED_WIDTH = ("resnet18", "resnet50", "vgg16", "vit_tiny")


def build_model(architecture: str, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """A fresh model by name; its last layer is an `nn.Linear` called `fc`.

    Args:
        architecture: One of `ARCHITECTURES`.
        num_classes: Number of classes, which is the width of the last layer, `fc`.
        in_channels: Channels of the images.
        width: Channels of the first stage; None for the architecture's own.

    Raises:
        ValueError: If the name is unknown or a number is out of range.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"`architecture` must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    check_integer("num_classes", num_classes, at_least=1)
    check_integer("in_channels", in_channels, at_least=1)
    if width is not None:
        check_integer("width", width, at_least=1)
    if width is None:
        return ARCHITECTURES[architecture](num_classes, in_channels=in_channels)
    if architecture in FIXED_WIDTH:
        raise ValueError(f"`width` must be None for {architecture!r}, whose width is fixed, got {width}")
    return ARCHITECTURES[architecture](num_classes, in_channels=in_channels, width=width)


class ImageClassifier(pl.LightningModule):
    """Trains a classifier on batches of uint8 images and int64 targets.

    Images are augmented (in training) and normalized on their device. SGD with Nesterov momentum, or AdamW, spares
    norms and biases the weight decay. The learning rate follows `schedule` by the optimiser step, to the end
    that the Trainer foresees. Logs `train_loss`, `val_loss` (without label smoothing) and `val_accuracy`.
    Weights and augmentation come from PyTorch's random state: `seed_everything` decides them.

    Args:
        architecture: One of "resnet18", "resnet50", "small_cnn", "small_resnet", "vgg16", "vit_tiny".
        num_classes: Number of classes, C.
        in_channels: Channels of the images.
        width: Channels of the first stage; None for the architecture's own.
        lr: Highest learning rate of the schedule.
        momentum: Nesterov momentum of SGD, in [0, 1).
        weight_decay: Weight decay of weights with two or more dimensions.
        optimizer: "sgd", or "adamw" as transformers want.
        label_smoothing: Share of the target spread over all classes, in [0, 1].
        schedule: "onecycle" (cosine up over 30 % of the steps, then down to 0), "cosine" (down to 0), "step"
            (a tenth after half and again after three quarters of the steps) or "constant".
        augment: Random crops out of reflect padding, and mirroring; not meant for digits.
        crop_padding: Pixels of that padding: 4 is usual, 2 is better when training is as short as a few epochs.
        mean: Mean of each channel for pixels in [0, 1]; None: CIFAR-10's for three channels, else 0.5.
        std: Standard deviation of each channel for pixels in [0, 1]; None: CIFAR-10's for three channels, else 0.5.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> classifier = ImageClassifier("small_cnn", in_channels=1, augment=False)
        >>> classifier(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        architecture: str = "small_resnet",
        num_classes: int = 10,
        in_channels: int = 3,
        width: int | None = None,
        lr: float = 0.4,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        optimizer: Optimizer = "sgd",
        label_smoothing: float = 0.1,
        schedule: Schedule = "onecycle",
        augment: bool = True,
        crop_padding: int = 2,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        check_text("architecture", architecture)
        in_channels = check_integer("in_channels", in_channels, at_least=1)
        num_classes = check_integer("num_classes", num_classes, at_least=1)
        width = None if width is None else check_integer("width", width, at_least=1)
        crop_padding = check_integer("crop_padding", crop_padding, at_least=0)
        check_flag("augment", augment)
        mean = None if mean is None else tuple(check_numbers("mean", mean))
        std = None if std is None else tuple(check_numbers("std", std, above=0))
        _check(lr, momentum, weight_decay, optimizer, label_smoothing, schedule)
        self.save_hyperparameters()
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.optimizer: Optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.schedule: Schedule = schedule
        usual_mean, usual_std = usual_statistics(in_channels)
        self.augment = RandomCropFlip(crop_padding) if augment else nn.Identity()
        # Channels last, torch 2.14 writes beyond the memory of 1 × 1 convolutions with a stride and few channels.
        channels_last = architecture != "small_resnet" or width is None or width >= 8
        mean, std = usual_mean if mean is None else mean, usual_std if std is None else std
        self.normalize = Normalize(mean, std, channels_last)
        self.model = build_model(architecture, num_classes, in_channels, width)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_classes) logits of (B, C, H, W) images: uint8, or floats in [0, 1]. Never augments.

        Args:
            images: (B, C, H, W) images, uint8 or floats in [0, 1].
        """
        logits: Tensor = self.model(self.normalize(images))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of the augmented batch.

        Args:
            batch: (B, C, H, W) images and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        images, targets = batch
        loss = F.cross_entropy(self(self.augment(images)), targets, label_smoothing=self.label_smoothing)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accumulate accuracy and loss.

        Args:
            batch: (B, C, H, W) images and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """The same under the names of the test.

        Args:
            batch: (B, C, H, W) images and (B,) int64 targets.
            batch_idx: Number of the batch; not used.
        """
        self._evaluate(batch, "test", self.test_accuracy)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """(B, num_classes) class probabilities.

        Args:
            batch: (B, C, H, W) images, and targets that are not looked at.
            batch_idx: Number of the batch; not used.
        """
        probabilities: Tensor = self(batch[0]).softmax(1)
        return probabilities

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: MulticlassAccuracy) -> None:
        images, targets = batch
        logits = self(images)
        accuracy(logits, targets)
        self.log(f"{stage}_accuracy", accuracy, prog_bar=True)
        self.log(f"{stage}_loss", F.cross_entropy(logits, targets), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and the schedule stepped after each optimiser step.

        Raises:
            ValueError: If the schedule needs an end and the Trainer has none.
        """
        weights = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        spared = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": self.weight_decay},
            {"params": spared, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=self.lr)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)
        if self.schedule == "constant":
            return optimizer
        why = f"`schedule` must be 'constant' if training has no end, got {self.schedule!r}"
        scheduler = _scheduler(optimizer, self.schedule, self.lr, planned_steps(self.trainer, why))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule, lr: float, total: int) -> lr_scheduler.LRScheduler:
    if schedule == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total, cycle_momentum=False)
    if schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    return lr_scheduler.MultiStepLR(optimizer, milestones=[max(total // 2, 1), max(3 * total // 4, 1)])


def _check(
    lr: float, momentum: float, weight_decay: float, optimizer: str, label_smoothing: float, schedule: str
) -> None:
    check_number("lr", lr, above=0)
    check_number("momentum", momentum, at_least=0, below=1)
    check_number("weight_decay", weight_decay, at_least=0)
    check_number("label_smoothing", label_smoothing, at_least=0, at_most=1)
    check_choice("optimizer", optimizer, get_args(Optimizer))
    check_choice("schedule", schedule, get_args(Schedule))
