"""Training of one classifier on images held as a tensor: the pool's networks, and those of the evaluation.

A plain loop: many small networks are trained one after the other, on as few as ten images, where a Trainer's own
work per step and per start would be most of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.distill.augment import Augmentation, cutmix

__all__ = ["Recipe", "accuracy", "autocast", "predict", "train_classifier"]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Args:
        epochs: Passes over the images.
        batch_size: Number of images in a step.
        lr: Learning rate at the start.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        weight_decay: Weight decay of the optimizer, at least 0.
        milestones: Shares of the epochs after which the learning rate is multiplied by `lr_factor`.
        lr_factor: Factor that the learning rate is multiplied by at each milestone.
        augment: Names of operations joined by "_", see `Augmentation`.
        cutmix: Whether half of the batches, drawn at random, are mixed by CutMix.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    weight_decay: float
    milestones: tuple[float, ...]
    lr_factor: float
    augment: str
    cutmix: bool


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """A context in which networks compute in bfloat16, or as they are.

    Args:
        device: Device that they compute on.
        bf16: Whether networks compute in bfloat16.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)


def train_classifier(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    normalize: nn.Module,
    recipe: Recipe,
    seed: int,
    *,
    bf16: bool = False,
    after_epoch: Callable[[int], None] | None = None,
) -> float:
    """Train in place, on the device of the images.

    Args:
        network: What is trained; on the device already.
        images: (N, C, H, W) uint8, or floats in [0, 1].
        targets: (N, classes) shares of classes.
        normalize: Module that turns images into what the network takes.
        recipe: How the network is trained.
        seed: Seed for order and augmentation.
        bf16: Whether the network computes in bfloat16.
        after_epoch: Called with the number of epochs done.

    Returns:
        The mean loss of the last epoch.
    """
    device = images.device
    host, generator = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    augmentation = Augmentation(recipe.augment)
    optimizer = _optimizer(network, recipe)
    steps = [max(1, round(share * recipe.epochs)) for share in recipe.milestones]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, recipe.lr_factor)
    # Batches of equal size: a last one of one image would spoil batch norm.
    batches = max(1, round(len(images) / recipe.batch_size))
    last = 0.0
    for epoch in range(recipe.epochs):
        network.train()
        total = torch.zeros((), device=device)
        for rows in torch.randperm(len(images), generator=host).tensor_split(batches):
            rows = rows.to(device)
            x, y = normalize(images[rows]), targets[rows]
            x = augmentation(x[:, None], augmentation.draw(len(x), host, generator))[:, 0]
            if recipe.cutmix and float(torch.rand((), generator=host)) < 0.5:
                x, y = cutmix(x, y, host)
            with autocast(device, bf16):
                logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach()
        scheduler.step()
        last = float(total) / batches
        if after_epoch is not None:
            after_epoch(epoch + 1)
    return last


@torch.no_grad()
def predict(
    forward: Callable[[Tensor], Tensor], images: Tensor, normalize: nn.Module, bf16: bool = False, batch: int = 500
) -> Tensor:
    """(N, ...) float32 outputs for all images, in blocks.

    Args:
        forward: A network in eval mode, or a method of it.
        images: (N, C, H, W) uint8, or floats in [0, 1].
        normalize: Module that turns images into what the network takes.
        bf16: Whether the network computes in bfloat16.
        batch: Number of images that are computed at a time.
    """
    parts = []
    for block in torch.split(images, batch):
        with autocast(images.device, bf16):
            parts.append(forward(normalize(block)).float())
    return torch.cat(parts)


def accuracy(network: nn.Module, images: Tensor, targets: Tensor, normalize: nn.Module, bf16: bool = False) -> float:
    """Share of the images, in [0, 1], whose class is the network's first guess.

    Args:
        network: Classifier on the device of the images; it is put into eval mode.
        images: (N, C, H, W) uint8, or floats in [0, 1].
        targets: (N,) int64 class of each image.
        normalize: Module that turns images into what the network takes.
        bf16: Whether the network computes in bfloat16.
    """
    network.eval()
    return float((predict(network, images, normalize, bf16).argmax(1) == targets).double().mean())
