"""Several losses at once: heads, teachers, consistency, penalties, losses inside a function of their own."""

from __future__ import annotations

import copy
from typing import Any

import torch
from kinds.table import (
    BATCH_LOSS,
    LOSSES,
    NORM,
    REDUCTIONS,
    ROWS,
    TOLD,
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


def _two_heads() -> dict[str, nn.Module]:
    return {"net": mlp(outputs=12), "label": nn.Linear(12, 3), "size": nn.Linear(12, 2)}


@kind(LOSSES, hears="mse_loss", also=("random",), ranks=True, resumes=True)
def two_heads() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, y, size = batch
        hidden = m.net(x).tanh()
        return F.cross_entropy(m.label(hidden), y) + 0.1 * F.mse_loss(m.size(hidden), size)

    return Training(Module(step, **_two_heads()), load(vectors(), classes(), torch.randn(N, 2) * 2))


@kind(LOSSES, hears="cross_entropy")
def two_heads_with_a_running_total() -> Training:
    """`loss *= ...; loss += ...`, as loops over tasks do."""

    def step(m: Any, batch: Any) -> Tensor:
        x, y, size = batch
        hidden = m.net(x).tanh()
        loss = F.cross_entropy(m.label(hidden), y)
        loss *= 0.3
        loss += F.l1_loss(m.size(hidden), size)
        return loss

    return Training(Module(step, **_two_heads()), load(vectors(), classes(), torch.randn(N, 2) * 2))


@kind(
    LOSSES,
    hears="mse_loss",
    truth=lambda m, b: _uncertain_of_samples(m, b),
)
def two_heads_weighted_by_learnt_uncertainty() -> Training:
    """Kendall et al. (2018), arXiv:1705.07115."""

    def step(m: Any, batch: Any) -> Tensor:
        x, y, size = batch
        hidden = m.net(x).tanh()
        losses = torch.stack([F.cross_entropy(m.label(hidden), y), F.mse_loss(m.size(hidden), size)])
        return (losses * (-m.spread).exp() + m.spread).sum()

    spread = nn.Parameter(torch.tensor([0.3, 1.0]))
    return Training(Module(step, **_two_heads(), spread=spread), load(vectors(), classes(), torch.randn(N, 2) * 2))


def _uncertain_of_samples(m: Any, batch: Any) -> Tensor:
    x, y, size = batch
    hidden = m.net(x).tanh()
    weights = (-m.spread).exp()
    return weights[0] * F.cross_entropy(m.label(hidden), y, reduction="none") + weights[1] * (
        (m.size(hidden) - size) ** 2
    ).mean(1)


@kind(LOSSES, hears="cross_entropy")
def deep_supervision() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, losses = batch[0], []
        for layer, head in zip(m.layers, m.heads, strict=True):
            x = layer(x).tanh()
            losses.append(F.cross_entropy(head(x), batch[1]))
        return sum(weight * loss for weight, loss in zip((0.1, 0.3, 1.0), losses, strict=True))

    layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
    heads = nn.ModuleList(nn.Linear(8, 3) for _ in range(3))
    return Training(Module(step, layers=layers, heads=heads), load(vectors(), classes()))


@kind(LOSSES, hears="kl_div")
def distillation() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, y = batch
        logits = m(x)
        with torch.no_grad():
            goal = (m.teacher(x) / 2).softmax(1)
        return F.cross_entropy(logits, y) + 4 * 0.7 * F.kl_div((logits / 2).log_softmax(1), goal, reduction="batchmean")

    teacher = mlp(width=32).requires_grad_(False)
    return Training(Module(step, net=mlp(), teacher=teacher), load(vectors(), classes()))


@kind(LOSSES, hears="mse_loss")
def distillation_of_features() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, y = batch
        hidden = m.net(x)
        with torch.no_grad():
            goal = m.teacher(x)
        return F.cross_entropy(m.head(hidden), y) + 0.5 * F.mse_loss(hidden, goal)

    parts = {"net": mlp(outputs=8), "teacher": mlp(outputs=8).requires_grad_(False), "head": nn.Linear(8, 3)}
    return Training(Module(step, **parts), load(vectors(), classes()))


def _dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Dropout(0.3), nn.Linear(32, 3))


def _r_drop_of_samples(m: Any, batch: Any) -> Tensor:
    a, b = m(batch[0]), m(batch[0])
    own = sum(F.cross_entropy(x, batch[1], reduction="none") for x in (a, b)) / 2
    p, q = a.log_softmax(1), b.log_softmax(1)
    apart = (q.exp() * (q - p)).sum(1) + (p.exp() * (p - q)).sum(1)
    return own + apart / 2


@kind(LOSSES, hears="kl_div", truth=_r_drop_of_samples)
def r_drop() -> Training:
    """Wu et al. (2021), arXiv:2106.14448."""

    def step(m: Any, batch: Any) -> Tensor:
        a, b = m(batch[0]), m(batch[0])
        own = (F.cross_entropy(a, batch[1]) + F.cross_entropy(b, batch[1])) / 2
        p, q = a.log_softmax(1), b.log_softmax(1)
        apart = F.kl_div(p, q, reduction="batchmean", log_target=True) + F.kl_div(
            q, p, reduction="batchmean", log_target=True
        )
        return own + apart / 2

    return Training(Module(step, net=_dropping()), load(vectors(), classes()))


@kind(LOSSES, hears="mse_loss", truth=lambda m, b: _consistent_of_samples(m, b))
def mean_teacher() -> Training:
    """Tarvainen & Valpola (2017), arXiv:1703.01780."""

    class Pair(Module):
        def on_train_batch_end(self, *_: Any) -> None:
            for slow, fast in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                slow.data.lerp_(fast.data, 0.05)

    def step(m: Any, batch: Any) -> Tensor:
        student = m(batch[0])
        with torch.no_grad():
            teacher = m.teacher(batch[0] + 0.3 * torch.randn_like(batch[0]))
        return F.cross_entropy(student, batch[1]) + 2 * F.mse_loss(student.softmax(1), teacher.softmax(1))

    net = mlp()
    return Training(Pair(step, net=net, teacher=copy.deepcopy(net).requires_grad_(False)), load(vectors(), classes()))


def _consistent_of_samples(m: Any, batch: Any) -> Tensor:
    student = m(batch[0])
    teacher = m.teacher(batch[0] + 0.3 * torch.randn_like(batch[0]))
    apart = ((student.softmax(1) - teacher.softmax(1)) ** 2).mean(1)
    return F.cross_entropy(student, batch[1], reduction="none") + 2 * apart


@kind(LOSSES, hears="cross_entropy")
def cross_entropy_with_an_entropy_bonus() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0])
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        return F.cross_entropy(logits, batch[1]) - 0.3 * entropy

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy")
def gradient_penalty_on_the_inputs() -> Training:
    """The step differentiates the loss once more than the trainer does: that must not count twice."""

    def step(m: Any, batch: Any) -> Tensor:
        x = batch[0].clone().requires_grad_()
        loss = F.cross_entropy(m(x), batch[1])
        slope = torch.autograd.grad(loss, x, create_graph=True)[0]
        return loss + 1e-3 * slope.pow(2).sum()

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy", truth=lambda m, b: _adversarial_of_samples(m, b))
def adversarial_training() -> Training:
    """One step of FGSM before the loss that counts; Goodfellow et al. (2015), arXiv:1412.6572."""

    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(_attacked(m, batch)), batch[1])

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


def _attacked(m: Any, batch: Any) -> Tensor:
    x = batch[0].clone().requires_grad_()
    slope = torch.autograd.grad(F.cross_entropy(m(x), batch[1]), x)[0]
    return (x + 0.3 * slope.sign()).detach()


def _adversarial_of_samples(m: Any, batch: Any) -> Tensor:
    with torch.enable_grad():
        x = _attacked(m, batch)
    return F.cross_entropy(m(x), batch[1], reduction="none")


@kind(REDUCTIONS)
def physics_informed() -> Training:
    """The residual of u' = −u at each point, by a derivative of the network."""

    def step(m: Any, batch: Any) -> Tensor:
        t = batch[0].clone().requires_grad_()
        u = m(t)
        slope = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
        return ((slope + u) ** 2).mean()

    return Training(Module(step, net=mlp(1, 1)), load(torch.rand(N, 1) * 3))


class FusedCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one, as fused kernels have it: nothing inside can be overheard."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.softmax(1)
        onehot = F.one_hot(targets, logits.shape[1]).to(p)
        ctx.save_for_backward((p - onehot) / len(p))
        return -(p.gather(1, targets[:, None]).log()).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0], None


@kind(NORM)
def fused_loss_of_its_own_kernel() -> Training:
    return Training(Module(lambda m, b: FusedCrossEntropy.apply(m(b[0]), b[1]), net=mlp()), load(vectors(), classes()))


class FusedSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(2 * (prediction - targets) / targets.numel())
        return ((prediction - targets) ** 2).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0], None


@kind(NORM)
def fused_squared_error() -> Training:
    return Training(
        Module(lambda m, b: FusedSquaredError.apply(m(b[0]), b[1]), net=mlp(outputs=2), lr=0.01),
        load(vectors(), torch.randn(N, 2) * 2),
    )


class FusedAbsoluteError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward((prediction - targets).sign() / targets.numel())
        return (prediction - targets).abs().mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0], None


@kind(BATCH_LOSS)
def fused_absolute_error() -> Training:
    """Its gradient has the same norm for every sample: only the batch's loss is left."""
    return Training(
        Module(lambda m, b: FusedAbsoluteError.apply(m(b[0]), b[1]), net=mlp(outputs=1), lr=0.01),
        load(vectors(), torch.randn(N, 1) * 2),
    )


@kind(REDUCTIONS)
def loss_by_vmap() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        weights = dict(m.net.named_parameters())

        def of_sample(x: Tensor, y: Tensor) -> Tensor:
            logits = torch.func.functional_call(m.net, weights, (x[None],))
            return F.cross_entropy(logits, y[None])

        return torch.vmap(of_sample)(batch[0], batch[1]).mean()

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(TOLD, hears="per_sample_loss", also=("infobatch",))
def losses_returned_by_the_step() -> Training:
    def step(m: Any, batch: Any) -> Any:
        losses = F.cross_entropy(m(batch[0]), batch[1], reduction="none")
        return {"loss": losses.mean(), "per_sample_loss": losses.detach()}

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(TOLD, hears="per_sample_loss")
def losses_by_a_function_of_the_user() -> Training:
    def losses(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0]), batch[1], reduction="none")

    training = Training(Module(lambda m, b: losses(m, b).mean(), net=mlp()), load(vectors(), classes()))
    training.selection["per_sample_loss"] = losses
    return training


@kind(ROWS, hears="cross_entropy")
def batch_repeated_in_the_step() -> Training:
    """Four noisy copies of each sample in one forward."""

    def step(m: Any, batch: Any) -> Tensor:
        x, y = (part.repeat_interleave(4, 0) for part in batch)
        return F.cross_entropy(m(x + m.noise.repeat(len(x) // 4, 1)), y)

    return Training(Module(step, net=mlp(), noise=torch.randn(4, 6) * 0.3), load(vectors(), classes()))


@kind(ROWS, hears="cross_entropy")
def batch_permuted_in_the_step() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        order = torch.randperm(len(batch[0]))
        return F.cross_entropy(m(batch[0][order]), batch[1][order])

    return Training(Module(step, net=mlp()), load(vectors(), classes()))


@kind(ROWS, hears="cross_entropy")
def few_shot_episodes() -> Training:
    """A sample is an episode of five support and four query points a class; Snell et al. (2017), arXiv:1703.05175."""

    def step(m: Any, batch: Any) -> Tensor:
        embedded = m(batch[0])  # (B, ways, shots, d)
        prototypes, queries = embedded[:, :, :5].mean(2), embedded[:, :, 5:].flatten(1, 2)
        logits = -torch.cdist(queries, prototypes)
        targets = torch.arange(3).repeat_interleave(4).expand(len(logits), -1)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    episodes = torch.randn(N, 3, 9, 6) + torch.randn(N, 3, 1, 6) * 2 * torch.rand(N, 1, 1, 1)
    return Training(Module(step, net=mlp(outputs=4)), load(episodes))
