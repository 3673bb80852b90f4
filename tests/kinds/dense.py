"""An answer for each pixel: segmentation, depth, restoration, keypoints."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import (
    BATCH_LOSS,
    LOSSES,
    NORM,
    REDUCTIONS,
    ROWS,
    Module,
    Training,
    fully_convolutional,
    images,
    kind,
    load,
    without_batch_norm,
)
from torch import Tensor, nn
from torch.nn import functional as F

N, SIZE = 40, 16
SMP = ("segmentation_models_pytorch",)


def masks(count: int = 4, ignored: bool = False, size: int = SIZE) -> Tensor:
    labels = torch.randint(0, count, (N, size, size))
    return labels.masked_fill(torch.rand(N, size, size) < 0.9 * torch.rand(N, 1, 1), 255) if ignored else labels


def foreground() -> Tensor:
    """(N, 1, H, W) of shares that differ from sample to sample, none without any."""
    return (torch.rand(N, 1, SIZE, SIZE) < 0.1 + 0.6 * torch.rand(N, 1, 1, 1)).float()


def unet(classes: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    net = smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 16, 8), classes=classes)
    return without_batch_norm(net)


@kind(LOSSES, hears="cross_entropy", also=("random", "infobatch"))
def segmentation() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=fully_convolutional()), load(images(), masks())
    )


@kind(LOSSES, hears="cross_entropy", resumes=True, classifies=True)
def segmentation_with_ignored_pixels() -> Training:
    labels = masks(ignored=True)
    labels[7] = 255  # nothing to learn from: no loss of its own
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], ignore_index=255), net=fully_convolutional()),
        load(images(), labels),
    )


@kind(ROWS, hears="cross_entropy")
def segmentation_flattened_with_channels_last() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0]).permute(0, 2, 3, 1).reshape(-1, 4)
        return F.cross_entropy(logits, batch[1].reshape(-1), ignore_index=255)

    return Training(Module(step, net=fully_convolutional()), load(images(), masks(ignored=True)))


@kind(LOSSES, hears="cross_entropy", needs=SMP, classifies=True)
def unet_of_segmentation_models() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], ignore_index=255), net=unet(4)),
        load(images(), masks(ignored=True)),
    )


@kind(LOSSES, hears="cross_entropy")
def segmentation_of_torchvision_with_an_auxiliary_head() -> Training:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    backbone = IntermediateLayerGetter(ResNet(BasicBlock, [1, 1, 1, 1]), {"layer2": "aux", "layer3": "out"})
    heads = [FCNHead(channels, 4) for channels in (256, 128)]
    for head in heads:
        head[3] = nn.Identity()  # dropout

    def step(m: Any, batch: Any) -> Tensor:
        out = m(batch[0])
        return F.cross_entropy(out["out"], batch[1]) + 0.5 * F.cross_entropy(out["aux"], batch[1])

    net = without_batch_norm(FCN(backbone, *heads))
    return Training(Module(step, net=net), load(images(), masks()))


@kind(LOSSES, hears="binary_cross_entropy_with_logits")
def binary_segmentation() -> Training:
    return Training(
        Module(lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]), net=fully_convolutional(outputs=1)),
        load(images(), foreground()),
    )


def dice(logits: Tensor, goals: Tensor) -> Tensor:
    """(B,) one minus the overlap of each sample."""
    p = logits.sigmoid().flatten(1)
    overlap = (p * goals.flatten(1)).sum(1)
    return 1 - (2 * overlap + 1) / (p.sum(1) + goals.flatten(1).sum(1) + 1)


@kind(REDUCTIONS, hears="mean")
def dice_of_each_sample() -> Training:
    return Training(
        Module(lambda m, b: dice(m(b[0]), b[1]).mean(), net=fully_convolutional(outputs=1)),
        load(images(), foreground()),
    )


@kind(LOSSES)
def cross_entropy_and_dice() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0])
        return 0.5 * F.binary_cross_entropy_with_logits(logits, batch[1]) + 0.5 * dice(logits, batch[1]).mean()

    return Training(Module(step, net=fully_convolutional(outputs=1)), load(images(), foreground()))


@kind(REDUCTIONS, NORM, BATCH_LOSS, truth=None)
def dice_of_the_whole_batch() -> Training:
    """Overlap and areas are summed over the batch before the quotient: no sample has a loss of its own."""

    def step(m: Any, batch: Any) -> Tensor:
        p = m(batch[0]).sigmoid()
        return 1 - (2 * (p * batch[1]).sum() + 1) / (p.sum() + batch[1].sum() + 1)

    return Training(Module(step, net=fully_convolutional(outputs=1)), load(images(), foreground()))


@kind(REDUCTIONS, NORM, BATCH_LOSS, truth=None, needs=SMP)
def dice_of_segmentation_models() -> Training:
    from segmentation_models_pytorch.losses import DiceLoss

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), b[1]), net=unet(1), criterion=DiceLoss("binary")),
        load(images(), foreground()),
    )


@kind(REDUCTIONS, needs=SMP)
def focal_of_segmentation_models() -> Training:
    from segmentation_models_pytorch.losses import FocalLoss

    return Training(
        Module(
            lambda m, b: m.criterion(m(b[0]), b[1]),
            net=fully_convolutional(outputs=1),
            criterion=FocalLoss("binary"),
        ),
        load(images(), foreground()),
    )


@kind(REDUCTIONS, needs=("kornia",))
def dice_of_kornia_for_each_sample() -> Training:
    from kornia.losses import DiceLoss

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), b[1]), net=fully_convolutional(), criterion=DiceLoss(average="macro")),
        load(images(), masks()),
    )


@kind(REDUCTIONS, needs=("kornia",))
def focal_of_kornia() -> Training:
    from kornia.losses import FocalLoss

    return Training(
        Module(
            lambda m, b: m.criterion(m(b[0]), b[1]),
            net=fully_convolutional(),
            criterion=FocalLoss(alpha=0.5, gamma=2.0, reduction="mean"),
        ),
        load(images(), masks()),
    )


@kind(REDUCTIONS)
def segmentation_with_hard_pixels_only() -> Training:
    """The hardest quarter of each image's pixels."""

    def step(m: Any, batch: Any) -> Tensor:
        losses = F.cross_entropy(m(batch[0]), batch[1], reduction="none").flatten(1)
        return losses.topk(losses.shape[1] // 4, dim=1).values.mean()

    return Training(Module(step, net=fully_convolutional()), load(images(), masks()))


@kind(REDUCTIONS)
def depth_where_it_was_measured() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, depth = batch
        valid = depth > 0
        return (m(x) - depth).abs()[valid].mean()

    measured = torch.rand(N, 1, SIZE, SIZE) < 0.2 + 0.7 * torch.rand(N, 1, 1, 1)
    return Training(
        Module(step, net=fully_convolutional(outputs=1)), load(images(), torch.rand(N, 1, SIZE, SIZE) * measured)
    )


@kind(LOSSES, needs=("kornia",))
def restoration_with_l1_and_structural_similarity() -> Training:
    from kornia.losses import SSIMLoss

    def step(m: Any, batch: Any) -> Tensor:
        clean = batch[0]
        restored = m(batch[1]).sigmoid()
        return F.l1_loss(restored, clean) + 0.1 * m.similarity(restored, clean)

    clean = images().sigmoid()
    return Training(
        Module(step, net=fully_convolutional(outputs=3), similarity=SSIMLoss(5)),
        load(clean, clean + torch.rand(N, 1, 1, 1) * torch.randn(N, 3, SIZE, SIZE)),
    )


@kind(REDUCTIONS, hears="mean")
def super_resolution_with_charbonnier() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        small = F.interpolate(batch[0], scale_factor=0.5, mode="area")
        restored = F.pixel_shuffle(m(small), 2)
        return torch.sqrt((restored - batch[0]) ** 2 + 1e-6).mean()

    return Training(Module(step, net=fully_convolutional(outputs=12)), load(images()))


@kind(LOSSES, hears="mse_loss")
def keypoints_by_heatmaps() -> Training:
    points = torch.rand(N, 3, 2, 1, 1) * SIZE
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"))
    heat = torch.exp(-((grid - points) ** 2).sum(2) / (2 + 8 * torch.rand(N, 1, 1, 1)))
    return Training(
        Module(lambda m, b: F.mse_loss(m(b[0]), b[1]), net=fully_convolutional()),
        load(images(), torch.cat([heat, torch.zeros(N, 1, SIZE, SIZE)], 1)),
    )


@kind(REDUCTIONS)
def visible_keypoints_by_coordinates() -> Training:
    from kinds.table import convnet

    def step(m: Any, batch: Any) -> Tensor:
        x, points, visible = batch
        error = F.smooth_l1_loss(m(x).view(-1, 4, 2), points, reduction="none").mean(2)
        return ((error * visible).sum(1) / visible.sum(1)).mean()

    visible = (torch.rand(N, 4) < 0.6).float()
    visible[:, 0] = 1
    return Training(Module(step, net=convnet(outputs=8)), load(images(), torch.randn(N, 4, 2), visible))
