"""Classification: cross entropy in all its forms, and what replaces it."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import (
    LOSSES,
    REDUCTIONS,
    ROWS,
    Module,
    Training,
    classes,
    convnet,
    images,
    kind,
    load,
    mlp,
    vectors,
)
from torch import Tensor, nn
from torch.nn import functional as F

CHOOSERS = ("random", "el2n", "forgetting", "ucb", "infobatch")


@kind(LOSSES, hears="cross_entropy", also=CHOOSERS, ranks=True, resumes=True, classifies=True)
def cross_entropy() -> Training:
    return Training(Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy", also=("infobatch",))
def cross_entropy_module_on_a_dict() -> Training:
    class Rows(torch.utils.data.Dataset[Any]):
        x, y = vectors(), classes()

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return {"inputs": self.x[i], "label": self.y[i]}

    def step(m: Any, batch: Any) -> Any:
        logits = m(batch["inputs"])
        return {"loss": m.criterion(logits, batch["label"]), "logits": logits.detach()}

    return Training(Module(step, net=mlp(), criterion=nn.CrossEntropyLoss()), load(Rows()))


@kind(LOSSES, hears="cross_entropy", also=("infobatch", "el2n"), classifies=True)
def class_weights() -> Training:
    weight = torch.tensor([1.0, 3.0, 0.5])
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], weight=weight), net=mlp()), load(vectors(), classes())
    )


@kind(LOSSES, hears="cross_entropy", also=("infobatch", "el2n"), classifies=True)
def label_smoothing() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], label_smoothing=0.1), net=mlp()),
        load(vectors(), classes()),
    )


@kind(LOSSES, hears="cross_entropy")
def soft_targets() -> Training:
    targets = torch.rand(40, 3).softmax(1)
    return Training(Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp()), load(vectors(), targets))


@kind(LOSSES, hears="cross_entropy", also=("infobatch",))
def summed_loss() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="sum"), net=mlp(), lr=0.01),
        load(vectors(), classes()),
    )


@kind(ROWS, hears="cross_entropy")
def chunks_summed_and_divided_by_the_batch() -> Training:
    def step(m: Any, b: Any) -> Any:
        chunks = zip(b[0].split(3), b[1].split(3), strict=True)
        return sum(F.cross_entropy(m(x), y, reduction="sum") for x, y in chunks) / len(b[0])

    return Training(Module(step, net=mlp(), lr=0.01), load(vectors(), classes()))


@kind(REDUCTIONS)
def unreduced_loss_summed_by_hand() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none").sum() / len(b[1]), net=mlp()),
        load(vectors(), classes()),
    )


@kind(LOSSES, hears="cross_entropy", also=("el2n", "infobatch"))
def metrics_logged_beside() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0])
        onehot = F.one_hot(batch[1], 3).float()
        m.log("brier", F.mse_loss(logits.softmax(1), onehot))
        m.log("smoothed", F.cross_entropy(logits, batch[1], label_smoothing=0.2).detach())
        with torch.no_grad():
            m.log("entropy", -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean())
        return F.cross_entropy(logits, batch[1])

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy")
def weight_penalty_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        penalty = sum(p.pow(2).sum() for p in m.parameters())
        return F.cross_entropy(m(batch[0]), batch[1]) + 1e-4 * penalty

    # A weight of 8 rows, as many as the batch has samples, must not pass for samples.
    return Training(Module(step, net=mlp(width=8)), load(vectors(), classes()))


@kind(REDUCTIONS, hears="mean")
def small_regulariser_beside_a_loss_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, y, other = batch
        logits = m(x)
        by_hand = (logits.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]).mean()
        return by_hand + 1e-3 * F.mse_loss(logits, other)

    return Training(Module(step, net=mlp()), load(vectors(), classes(), torch.randn(40, 3)))


@kind(LOSSES)
def mse_of_the_weights_beside() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        weight = m.net[0].weight
        return F.cross_entropy(m(batch[0]), batch[1]) + 1e-3 * F.mse_loss(weight, torch.zeros_like(weight))

    return Training(Module(step, net=mlp(width=8)), load(vectors(), classes()))


@kind(LOSSES, hears="nll_loss", also=("infobatch",))
def nll_after_log_softmax() -> Training:
    return Training(
        Module(lambda m, b: F.nll_loss(F.log_softmax(m(b[0]), 1), b[1]), net=mlp()), load(vectors(), classes())
    )


@kind(REDUCTIONS, hears="mean")
def cross_entropy_by_gather() -> Training:
    return Training(
        Module(lambda m, b: -m(b[0]).log_softmax(1).gather(1, b[1][:, None]).squeeze(1).mean(), net=mlp()),
        load(vectors(), classes()),
    )


@kind(REDUCTIONS, hears="mean")
def focal_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        loss = F.cross_entropy(m(batch[0]), batch[1], reduction="none")
        return ((1 - (-loss).exp()) ** 2 * loss).mean()

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(REDUCTIONS)
def focal_of_torchvision() -> Training:
    from torchvision.ops import sigmoid_focal_loss

    return Training(
        Module(lambda m, b: sigmoid_focal_loss(m(b[0]), b[1], reduction="mean"), net=mlp(outputs=5)),
        load(vectors(), torch.rand(40, 5).round()),
    )


@kind(LOSSES, hears="binary_cross_entropy_with_logits", also=("random", "infobatch"))
def multilabel() -> Training:
    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), b[1]), net=mlp(outputs=5), criterion=nn.BCEWithLogitsLoss()),
        load(vectors(), torch.rand(40, 5).round()),
    )


@kind(LOSSES, hears="binary_cross_entropy_with_logits")
def multilabel_with_positive_weights() -> Training:
    weight = torch.tensor([1.0, 2.0, 5.0, 0.5, 1.0])
    return Training(
        Module(lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1], pos_weight=weight), net=mlp(outputs=5)),
        load(vectors(), torch.rand(40, 5).round()),
    )


@kind(LOSSES, hears="binary_cross_entropy")
def binary_with_one_output() -> Training:
    # `squeeze()` makes a scalar of a last batch of one.
    return Training(
        Module(lambda m, b: F.binary_cross_entropy(m(b[0]).squeeze(-1).sigmoid(), b[1].float()), net=mlp(outputs=1)),
        load(vectors(), classes(count=2)),
    )


@kind(LOSSES, hears="multi_margin_loss")
def multi_margin() -> Training:
    return Training(Module(lambda m, b: F.multi_margin_loss(m(b[0]), b[1]), net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="multilabel_soft_margin_loss")
def multilabel_soft_margin() -> Training:
    return Training(
        Module(lambda m, b: F.multilabel_soft_margin_loss(m(b[0]), b[1]), net=mlp(outputs=5)),
        load(vectors(), torch.rand(40, 5).round()),
    )


@kind(REDUCTIONS, hears="mean")
def ordinal() -> Training:
    """CORAL: one threshold a level; Cao et al. (2020), arXiv:1901.07884."""

    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0]) + m.thresholds
        above = (batch[1][:, None] > torch.arange(4)).float()
        return -(F.logsigmoid(logits) * above + (F.logsigmoid(logits) - logits) * (1 - above)).sum(1).mean()

    parts = {"net": mlp(outputs=1), "thresholds": nn.Parameter(torch.linspace(1, -1, 4))}
    return Training(Module(step, **parts), load(vectors(), classes(count=5)))


@kind(REDUCTIONS, hears="mean")
def hinge_by_hand() -> Training:
    return Training(
        Module(lambda m, b: F.relu(1 - m(b[0])[:, 0] * (2 * b[1] - 1)).mean(), net=mlp(outputs=1)),
        load(vectors(), classes(count=2)),
    )


def _mixed(m: Any, batch: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = batch
    share, order = torch.rand(()) * 0.5 + 0.5, torch.randperm(len(x))
    return m(share * x + (1 - share) * x[order]), y, y[order], share


def _mixup_truth(m: Any, batch: Any) -> Tensor:
    logits, y, partner, share = _mixed(m, batch)
    own, other = (F.cross_entropy(logits, t, reduction="none") for t in (y, partner))
    return share * own + (1 - share) * other


@kind(LOSSES, hears="cross_entropy", truth=_mixup_truth)
def mixup_in_the_step() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits, y, partner, share = _mixed(m, batch)
        return share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, partner)

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(
    LOSSES,
    hears="cross_entropy",
    replays=False,
    truth=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"),
)
def mixup_and_cutmix_of_torchvision_in_the_collate() -> Training:
    from torch.utils.data import default_collate
    from torchvision.transforms import v2

    mix = v2.RandomChoice([v2.MixUp(num_classes=5), v2.CutMix(num_classes=5)])
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=convnet()),
        load(images(), classes(count=5), collate_fn=lambda items: mix(*default_collate(items))),
    )


@kind(LOSSES, hears="cross_entropy", truth=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))
def residual_network_with_batch_norm() -> Training:
    from torchvision.models.resnet import BasicBlock, ResNet

    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    return Training(Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=net), load(images(), classes(count=5)))


def _small_vit() -> nn.Module:
    import timm

    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5
    )


@kind(REDUCTIONS, hears="mean", needs=("timm",))
def timm_vit_with_its_label_smoothing() -> Training:
    from timm.loss import LabelSmoothingCrossEntropy

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), b[1]), net=_small_vit(), criterion=LabelSmoothingCrossEntropy(0.1)),
        load(images(), classes(count=5)),
    )


@kind(REDUCTIONS, hears="mean", needs=("timm",), truth=lambda m, b: _timm_soft(m, b))
def timm_mixup_with_soft_target_cross_entropy() -> Training:
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy

    def step(m: Any, batch: Any) -> Tensor:
        x, y = m.mix(batch[0].clone(), batch[1])
        return m.criterion(m(x), y)

    module = Module(step, net=_small_vit(), criterion=SoftTargetCrossEntropy())
    module.mix = Mixup(mixup_alpha=0.8, num_classes=5)
    return Training(module, load(images(n=32), classes(n=32, count=5)))


def _timm_soft(m: Any, batch: Any) -> Tensor:
    x, y = m.mix(batch[0].clone(), batch[1])
    return -(y * m(x).log_softmax(1)).sum(1)


@kind(LOSSES, hears="cross_entropy", needs=("timm",))
def timm_binary_cross_entropy() -> Training:
    from timm.loss import BinaryCrossEntropy

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), b[1]), net=_small_vit(), criterion=BinaryCrossEntropy(0.1)),
        load(images(), classes(count=5)),
    )


@kind(LOSSES, hears="cross_entropy")
def frozen_backbone() -> Training:
    backbone = mlp(outputs=8).requires_grad_(False)

    def step(m: Any, batch: Any) -> Tensor:
        with torch.no_grad():
            features = m.backbone(batch[0])
        return F.cross_entropy(m.head(features), batch[1])

    return Training(Module(step, backbone=backbone, head=nn.Linear(8, 3)), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy")
def frozen_head() -> Training:
    head = nn.Linear(8, 3).requires_grad_(False)
    return Training(
        Module(lambda m, b: F.cross_entropy(m.head(m.net(b[0])), b[1]), net=mlp(outputs=8), head=head),
        load(vectors(), classes()),
    )


@kind(LOSSES, hears="cross_entropy")
def logits_without_parameters() -> Training:
    """Nearest prototypes: the logits are distances, no layer puts them out."""

    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(-torch.cdist(m(batch[0]), m.prototypes), batch[1])

    return Training(
        Module(step, net=mlp(outputs=4), prototypes=nn.Parameter(torch.randn(3, 4))), load(vectors(), classes())
    )
