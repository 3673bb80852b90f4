"""Losses of pairs, triplets and whole batches: self-supervised, metric learning, images with texts."""

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
    classes,
    kind,
    load,
    mlp,
    vectors,
)
from torch import Tensor, nn
from torch.nn import functional as F

N = 40
ANY = (REDUCTIONS, LOSSES, ROWS, NORM, BATCH_LOSS)


def views() -> tuple[Tensor, Tensor]:
    """Two views of each sample, of some almost the same."""
    x, noise = vectors(), torch.rand(N, 1)
    return x + noise * torch.randn_like(x), x + noise * torch.randn_like(x)


def _nt_xent(a: Tensor, b: Tensor) -> Tensor:
    """(2B,) losses of the rows."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    scores = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    partner = torch.arange(len(z)).roll(len(a))
    return scores.logsumexp(1) - scores.gather(1, partner[:, None])[:, 0]


def _nt_xent_of_samples(m: Any, batch: Any) -> Tensor:
    return _nt_xent(m(batch[0]), m(batch[1])).view(2, -1).mean(0)


@kind(ROWS, hears="cross_entropy", truth=_nt_xent_of_samples, needs=("lightly",))
def simclr_of_lightly() -> Training:
    from lightly.loss import NTXentLoss

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), m(b[1])), net=mlp(outputs=8), criterion=NTXentLoss()),
        load(*views()),
    )


@kind(REDUCTIONS, hears="mean", truth=_nt_xent_of_samples)
def simclr_by_hand() -> Training:
    return Training(Module(lambda m, b: _nt_xent(m(b[0]), m(b[1])).mean(), net=mlp(outputs=8)), load(*views()))


@kind(ROWS, hears="cross_entropy", truth=_nt_xent_of_samples)
def simclr_in_one_forward_of_both_views() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        z = F.normalize(m(torch.cat([batch[0], batch[1]])), dim=1)
        scores = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
        return F.cross_entropy(scores, torch.arange(len(z)).roll(len(z) // 2))

    return Training(Module(step, net=mlp(outputs=8)), load(*views()))


def _clip_of_samples(m: Any, batch: Any) -> Tensor:
    a, b = F.normalize(m.image(batch[0]), dim=1), F.normalize(m.text(batch[1]), dim=1)
    scores, own = 10 * a @ b.T, torch.arange(len(a))
    return (F.cross_entropy(scores, own, reduction="none") + F.cross_entropy(scores.T, own, reduction="none")) / 2


@kind(LOSSES, hears="cross_entropy", truth=_clip_of_samples)
def clip_of_open_clip() -> Training:
    from open_clip.loss import ClipLoss

    def step(m: Any, batch: Any) -> Tensor:
        a, b = F.normalize(m.image(batch[0]), dim=1), F.normalize(m.text(batch[1]), dim=1)
        return m.criterion(a, b, torch.tensor(10.0))

    return Training(Module(step, image=mlp(outputs=8), text=mlp(outputs=8), criterion=ClipLoss()), load(*views()))


def _siglip_of_samples(m: Any, batch: Any) -> Tensor:
    a, b = F.normalize(m.image(batch[0]), dim=1), F.normalize(m.text(batch[1]), dim=1)
    return -F.logsigmoid((2 * torch.eye(len(a)) - 1) * (10 * a @ b.T - 5)).sum(1)


@kind(REDUCTIONS, truth=_siglip_of_samples)
def siglip_of_open_clip() -> Training:
    from open_clip.loss import SigLipLoss

    def step(m: Any, batch: Any) -> Tensor:
        a, b = F.normalize(m.image(batch[0]), dim=1), F.normalize(m.text(batch[1]), dim=1)
        return m.criterion(a, b, torch.tensor(10.0), torch.tensor(-5.0))

    return Training(Module(step, image=mlp(outputs=8), text=mlp(outputs=8), criterion=SigLipLoss()), load(*views()))


@kind(LOSSES, hears="triplet_margin_loss")
def triplets() -> Training:
    return Training(
        Module(
            lambda m, b: m.criterion(m(b[0]), m(b[1]), m(b[2])),
            net=mlp(outputs=8),
            criterion=nn.TripletMarginLoss(margin=2.0),
        ),
        load(*views(), vectors()),
    )


@kind(REDUCTIONS, hears="mean")
def triplets_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        anchor, near, far = m(batch[0]), m(batch[1]), m(batch[2])
        return F.relu((anchor - near).norm(dim=1) - (anchor - far).norm(dim=1) + 2.0).mean()

    return Training(Module(step, net=mlp(outputs=8)), load(*views(), vectors()))


@kind(LOSSES, hears="cosine_embedding_loss")
def pairs_by_cosine() -> Training:
    signs = torch.where(torch.rand(N) < 0.5, 1, -1)
    return Training(
        Module(lambda m, b: F.cosine_embedding_loss(m(b[0]), m(b[1]), b[2]), net=mlp(outputs=8)),
        load(*views(), signs),
    )


@kind(REDUCTIONS, hears="mean")
def siamese_pairs_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        distance, same = (m(batch[0]) - m(batch[1])).norm(dim=1), batch[2]
        return (same * distance**2 + (1 - same) * F.relu(1.5 - distance) ** 2).mean()

    return Training(Module(step, net=mlp(outputs=8)), load(*views(), torch.rand(N).round()))


PML = ("pytorch_metric_learning",)


def _metric(criterion: Any, miner: Any = None) -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        embedded = m(batch[0])
        pairs = () if miner is None else (miner(embedded, batch[1]),)
        return m.criterion(embedded, batch[1], *pairs)

    return Training(Module(step, net=mlp(outputs=8), criterion=criterion), load(vectors(), classes()))


def _per_row(m: Any, batch: Any) -> Tensor:
    from pytorch_metric_learning.reducers import DoNothingReducer

    reducer, m.criterion.reducer = m.criterion.reducer, DoNothingReducer()
    losses = m.criterion(m(batch[0]), batch[1])["loss"]["losses"]
    m.criterion.reducer = reducer
    return losses


@kind(REDUCTIONS, truth=_per_row, needs=PML)
def arcface_of_metric_learning() -> Training:
    from pytorch_metric_learning.losses import ArcFaceLoss

    return _metric(ArcFaceLoss(3, 8))


@kind(REDUCTIONS, truth=_per_row, needs=PML)
def proxies_of_metric_learning() -> Training:
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss

    return _metric(NormalizedSoftmaxLoss(3, 8))


def _of_those_with_a_partner(m: Any, batch: Any) -> Tensor:
    losses = _per_row(m, batch)
    return torch.where(losses > 0, losses, torch.nan)  # the loss is the mean over these


@kind(REDUCTIONS, truth=_of_those_with_a_partner, needs=PML)
def supervised_contrast_of_metric_learning() -> Training:
    from pytorch_metric_learning.losses import SupConLoss

    return _metric(SupConLoss())


@kind(*reversed(ANY), truth=None, needs=PML)
def mined_triplets_of_metric_learning() -> Training:
    """As many rows as the miner finds triplets: no row is a sample."""
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner

    return _metric(TripletMarginLoss(0.5), BatchHardMiner())


@kind(*reversed(ANY), truth=None, needs=PML)
def all_pairs_of_metric_learning() -> Training:
    from pytorch_metric_learning.losses import ContrastiveLoss

    return _metric(ContrastiveLoss())


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b.detach(), dim=1)


@kind(
    REDUCTIONS,
    truth=lambda m, b: -(_cosine(m.predict(m(b[0])), m(b[1])) + _cosine(m.predict(m(b[1])), m(b[0]))) / 2,
    needs=("lightly",),
)
def simsiam_of_lightly() -> Training:
    from lightly.loss import NegativeCosineSimilarity

    def step(m: Any, batch: Any) -> Tensor:
        a, b = m(batch[0]), m(batch[1])
        return (m.criterion(m.predict(a), b.detach()) + m.criterion(m.predict(b), a.detach())) / 2

    return Training(
        Module(step, net=mlp(outputs=8), predict=mlp(8, 8), criterion=NegativeCosineSimilarity()), load(*views())
    )


@kind(REDUCTIONS, hears="mean")
def byol_with_a_moving_average() -> Training:
    import copy

    class Byol(Module):
        def on_train_batch_end(self, *_: Any) -> None:
            for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.data.lerp_(fast.data, 0.05)

    def step(m: Any, batch: Any) -> Tensor:
        with torch.no_grad():
            goal = m.slow(batch[1])
        return (2 - 2 * F.cosine_similarity(m.predict(m(batch[0])), goal, dim=1)).mean()

    net = mlp(outputs=8)
    slow = copy.deepcopy(net).requires_grad_(False)
    return Training(Byol(step, net=net, slow=slow, predict=mlp(8, 8)), load(*views()))


@kind(NORM, BATCH_LOSS, truth=None, needs=("lightly",))
def barlow_twins_of_lightly() -> Training:
    """Correlations of features over the batch, as many features as samples: no row of the loss is a sample."""
    from lightly.loss import BarlowTwinsLoss

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), m(b[1])), net=mlp(outputs=8), criterion=BarlowTwinsLoss(), lr=0.01),
        load(*views()),
    )


@kind(*reversed(ANY), truth=None, needs=("lightly",))
def vicreg_of_lightly() -> Training:
    """An invariance a sample, variance and covariance over the batch."""
    from lightly.loss import VICRegLoss

    return Training(
        Module(lambda m, b: m.criterion(m(b[0]), m(b[1])), net=mlp(outputs=8), criterion=VICRegLoss(), lr=0.001),
        load(*views()),
    )


@kind(*ANY, truth=None, needs=("lightly",))
def dino_of_lightly() -> Training:
    from lightly.loss import DINOLoss

    def step(m: Any, batch: Any) -> Tensor:
        with torch.no_grad():
            teacher = [m.teacher(view) for view in batch]
        return m.criterion(teacher, [m(view) for view in batch], epoch=m.current_epoch)

    teacher = mlp(outputs=8).requires_grad_(False)
    return Training(
        Module(
            step, net=mlp(outputs=8), teacher=teacher, criterion=DINOLoss(output_dim=8, warmup_teacher_temp_epochs=2)
        ),
        load(*views()),
    )
