"""Detectors of torchvision, with the losses that they compute themselves; batches are lists of images and boxes."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import BATCH_LOSS, EXACT, NORM, Module, Training, kind, load
from torch import Tensor, nn
from torch.utils.data import Dataset

N, SIZE = 24, 48
# A loss of boxes drawn at random from all images together: which rule applies depends on how many each image has.
ANY = (*EXACT, NORM, BATCH_LOSS)


class Scenes(Dataset[Any]):
    """Images with one to three boxes."""

    def __init__(self, keypoints: bool = False) -> None:
        self.images = torch.rand(N, 3, SIZE, SIZE)
        counts = torch.randint(1, 4, (N,)).tolist()
        corners = [torch.rand(n, 2) * SIZE / 2 for n in counts]
        boxes = [torch.cat([corner, corner + 8 + 12 * torch.rand(len(corner), 2)], 1) for corner in corners]
        self.targets = [{"boxes": b, "labels": torch.randint(1, 3, (len(b),))} for b in boxes]
        if keypoints:
            for target in self.targets:
                middle = (target["boxes"][:, :2] + target["boxes"][:, 2:]) / 2
                seen = torch.ones(len(middle), 1)
                target["keypoints"] = torch.cat([middle, seen], 1)[:, None].repeat(1, 2, 1)
                target["labels"] = torch.ones_like(target["labels"])

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[i], self.targets[i]


def columns(items: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*items, strict=True))


def step(m: Any, batch: Any) -> Tensor:
    losses = m.net(list(batch[0]), list(batch[1]))
    return sum(losses.values())


def backbone(channels: int = 16) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, channels, 3, 2, 1)
    )
    net.out_channels = channels
    return net


SIZES: dict[str, Any] = {"min_size": SIZE, "max_size": SIZE}


def training(net: nn.Module, rows: Scenes | None = None) -> Training:
    return Training(Module(step, net=net, lr=0.005), load(rows or Scenes(), collate_fn=columns))


@kind(*ANY, truth=None, also=("random",))
def faster_rcnn() -> Training:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    net = FasterRCNN(
        backbone(),
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, 32), nn.ReLU()),
        box_predictor=_BoxPredictor(32, 3),
        box_batch_size_per_image=16,
        rpn_batch_size_per_image=16,
        rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20,
        **SIZES,
    )
    return training(net)


class _BoxPredictor(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores, self.boxes = nn.Linear(channels, classes), nn.Linear(channels, classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(x), self.boxes(x)


@kind(*ANY, truth="alone")
def retinanet() -> Training:
    """Losses of each image are divided by its own number of boxes and averaged: a loss of its own, without draws."""
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return training(RetinaNet(backbone(), 3, anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)), **SIZES))


@kind(*ANY, truth=None)
def fcos() -> Training:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return training(FCOS(backbone(32), 3, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), **SIZES))


@kind(*ANY, truth=None)
def keypoint_rcnn() -> Training:
    from torchvision.models.detection import KeypointRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
    from torchvision.ops import MultiScaleRoIAlign

    net = KeypointRCNN(
        backbone(),
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, 32), nn.ReLU()),
        box_predictor=_BoxPredictor(32, 2),
        keypoint_roi_pool=MultiScaleRoIAlign(["0"], 6, 2),
        keypoint_head=KeypointRCNNHeads(16, (8,)),
        keypoint_predictor=KeypointRCNNPredictor(8, 2),
        box_batch_size_per_image=16,
        rpn_batch_size_per_image=16,
        rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20,
        **SIZES,
    )
    return training(net, Scenes(keypoints=True))
