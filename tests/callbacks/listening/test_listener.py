"""What a step tells of its samples equals the loss of each of them alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from support import Module, fit
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack as open_modes
from torch.utils.data import DataLoader, TensorDataset

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.listening import Listener, Rule, Told
from dynsel.selectors import Hybrid, Random

B, T, V, D = 6, 5, 7, 4
Step = Callable[..., Tensor]


class Wants(Random):
    """Asks for losses only."""

    wants = frozenset({"per_sample_loss"})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def vectors() -> tuple[Tensor, Tensor]:
    return torch.randn(B, D), torch.randint(0, 3, (B,))


def tokens() -> tuple[Tensor, Tensor]:
    """Sequences of 1 to 5 valid tokens."""
    targets = torch.randint(0, V, (B, T))
    return torch.randn(B, T, D), targets.masked_fill(torch.arange(T) > torch.arange(B)[:, None] % T, -100)


def images() -> tuple[Tensor, Tensor]:
    masks = torch.randint(0, 3, (B, 5, 5))
    masks[0, :3] = 255
    return torch.randn(B, D, 5, 5), masks


def hear(listener: Listener, step: Step, batch: Any, size: int = B, weights: Tensor | None = None) -> Told:
    listener.begin_batch(0, size, weights, batch)
    loss = step(*batch)
    listener.before_backward(loss)
    if loss.requires_grad:
        loss.backward()
    return listener.end_batch({"loss": loss}, batch)


def alone(step: Step, batch: Any) -> Tensor:
    with torch.no_grad():
        return torch.stack([step(*(part[i : i + 1] for part in batch)).reshape(()) for i in range(len(batch[0]))])


head, lm, convolution = nn.Linear(D, 3), nn.Linear(D, V), nn.Conv2d(D, 3, 1)
lstm = nn.LSTM(D, V)


def one_hot(y: Tensor) -> Tensor:
    return F.one_hot(y, 3).float()


def focal(x: Tensor, y: Tensor) -> Tensor:
    losses = F.cross_entropy(head(x), y, reduction="none")
    return ((1 - (-losses).exp()) ** 2 * losses).mean()


def by_hand(x: Tensor, y: Tensor) -> Tensor:
    z = head(x)
    return (z.logsumexp(1) - z.gather(1, y[:, None])[:, 0]).mean() + 1e-3 * F.mse_loss(z, x[:, :3])


def dice(x: Tensor, y: Tensor) -> Tensor:
    p, t = convolution(x)[:, 0].sigmoid().flatten(1), (y == 1).float().flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()


def masked(x: Tensor, y: Tensor) -> Tensor:
    losses, mask = F.cross_entropy(lm(x).transpose(1, 2), y.clamp(min=0), reduction="none"), (y >= 0).float()
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def shifted(x: Tensor, y: Tensor) -> Tensor:
    """As transformers shift the labels of causal language models."""
    y = F.pad(y, (0, 1), value=-100)[..., 1:].contiguous()
    return F.cross_entropy(lm(x).float().view(-1, V), y.view(-1), ignore_index=-100)


def permuted(x: Tensor, y: Tensor) -> Tensor:
    order = torch.randperm(len(x))
    return F.cross_entropy(head(x[order]), y[order])


def one_at_a_time(x: Tensor, y: Tensor) -> Tensor:
    losses = [F.cross_entropy(head(x[i : i + 1]), y[i : i + 1]) for i in range(len(x))]
    return sum(losses, torch.zeros(())) / len(x)


STEPS: dict[str, tuple[Callable[[], Any], Step, Rule]] = {
    "cross entropy": (vectors, lambda x, y: F.cross_entropy(head(x), y), Rule.LOSSES),
    "two losses": (
        vectors,
        lambda x, y: 2 * F.cross_entropy(head(x), y) + 0.1 * F.mse_loss(head(x), one_hot(y)),
        Rule.LOSSES,
    ),
    "a metric beside it": (
        vectors,
        lambda x, y: (F.l1_loss(head(x), one_hot(y)), F.mse_loss(head(x), one_hot(y)))[1],
        Rule.LOSSES,
    ),
    "a sum": (vectors, lambda x, y: F.cross_entropy(head(x), y, reduction="sum"), Rule.LOSSES),
    "a sum over the batch size": (
        vectors,
        lambda x, y: F.cross_entropy(head(x), y, reduction="sum") / len(x),
        Rule.LOSSES,
    ),
    "class weights and smoothing": (
        vectors,
        lambda x, y: F.cross_entropy(head(x), y, torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1),
        Rule.LOSSES,
    ),
    "cosine": (
        vectors,
        lambda x, y: F.cosine_embedding_loss(head(x), x[:, :3], (y > 0) * 2.0 - 1),
        Rule.LOSSES,
    ),
    "triplets": (vectors, lambda x, y: F.triplet_margin_loss(head(x), head(x + 1), head(-x)), Rule.LOSSES),
    "focal": (vectors, focal, Rule.REDUCTIONS),
    "by hand, with a small regulariser": (vectors, by_hand, Rule.REDUCTIONS),
    "one at a time": (vectors, one_at_a_time, Rule.ROWS),
    "permuted": (vectors, permuted, Rule.ROWS),
    "two views": (vectors, lambda x, y: F.cross_entropy(head(torch.cat([x, x + 0.1])), y.repeat(2)), Rule.ROWS),
    "tokens, flat": (tokens, lambda x, y: F.cross_entropy(lm(x).view(-1, V), y.view(-1)), Rule.ROWS),
    "tokens, classes first": (tokens, lambda x, y: F.cross_entropy(lm(x).transpose(1, 2), y), Rule.LOSSES),
    "tokens, time first": (
        tokens,
        lambda x, y: F.cross_entropy(lm(x.transpose(0, 1)).reshape(-1, V), y.t().reshape(-1)),
        Rule.ROWS,
    ),
    "tokens, recurrent": (
        tokens,
        lambda x, y: F.cross_entropy(lstm(x.transpose(0, 1))[0].reshape(-1, V), y.t().reshape(-1)),
        Rule.ROWS,
    ),
    "tokens, chosen by a mask": (tokens, lambda x, y: F.cross_entropy(lm(x)[y >= 0], y[y >= 0]), Rule.ROWS),
    "tokens, a sum over the valid ones": (
        tokens,
        lambda x, y: F.cross_entropy(lm(x).view(-1, V), y.view(-1), reduction="sum") / (y >= 0).sum(),
        Rule.ROWS,
    ),
    "tokens, masked by hand": (tokens, masked, Rule.REDUCTIONS),
    "pixels": (images, lambda x, y: F.cross_entropy(convolution(x), y, ignore_index=255), Rule.LOSSES),
    "pixels, flat": (
        images,
        lambda x, y: F.cross_entropy(convolution(x).permute(0, 2, 3, 1).reshape(-1, 3), y.flatten(), ignore_index=255),
        Rule.ROWS,
    ),
    "dice": (images, dice, Rule.REDUCTIONS),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_sample_is_told_its_loss_alone(name: str) -> None:
    make, step, rule = STEPS[name]
    listener = Listener(Wants())
    # The first batches are looked at closely, the others are known.
    for _ in range(4):
        batch = make()
        told = hear(listener, step, batch).per_sample_loss
        torch.testing.assert_close(told, alone(step, batch), rtol=1e-4, atol=1e-5, equal_nan=True)
    assert listener.heard.rule is rule
    assert open_modes() == []


def test_a_smaller_last_batch_and_one_of_one() -> None:
    listener = Listener(Wants())
    for size in (6, 6, 6, 2, 1, 6):
        x, y = (part[:size] for part in vectors())
        told = hear(listener, STEPS["cross entropy"][1], (x, y), size).per_sample_loss
        torch.testing.assert_close(told, F.cross_entropy(head(x), y, reduction="none"))


def test_without_a_valid_target_nothing_is_told() -> None:
    x, y = tokens()
    y[2] = -100
    told = hear(Listener(Wants()), lambda x, y: F.cross_entropy(lm(x).view(-1, V), y.view(-1)), (x, y)).per_sample_loss
    assert told.isnan().tolist() == [False, False, True, False, False, False]


def test_the_line_names_each_part_with_its_weight() -> None:
    listener = Listener(Hybrid())
    hear(listener, STEPS["two losses"][1], vectors())
    assert str(listener.heard).startswith("cross_entropy × 2 + mse_loss × 0.1")
    listener = Listener(Hybrid())
    hear(listener, STEPS["tokens, flat"][1], tokens())
    assert str(listener.heard) == "cross_entropy × 1; per sample over its valid targets; Hybrid measures the logits"


@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1.0), (1024.0, 1.0), (0.25, 1.0)])
def test_what_the_trainer_does_to_the_loss_is_undone(scale: float, factor: float) -> None:
    listener = Listener(Wants(), scale=lambda: 1 / scale)
    x, y = vectors()
    listener.begin_batch(0, B, None, (x, y))
    loss = F.cross_entropy(head(x), y) * scale
    listener.before_backward(loss)
    loss.backward()
    told = listener.end_batch({"loss": loss}, (x, y)).per_sample_loss
    torch.testing.assert_close(told, F.cross_entropy(head(x), y, reduction="none") * factor)


def test_a_gradient_penalty_inside_the_step_counts_once() -> None:
    x, y = vectors()

    def step(x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(head(x), y)
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        return loss + gradient.square().sum()

    told = hear(Listener(Wants()), step, (x, y)).per_sample_loss
    own = x.clone().requires_grad_()
    losses = F.cross_entropy(head(own), y, reduction="none")
    (gradient,) = torch.autograd.grad(losses.mean(), own)
    # The penalty is a sum over samples of what each has of it, and the loss a mean.
    torch.testing.assert_close(told, (losses + B * gradient.square().sum(1)).detach())


@pytest.mark.parametrize("announced", [True, False])
def test_several_backward_passes_add_up(announced: bool) -> None:
    listener, (x, y) = Listener(Wants(), automatic=False), vectors()
    for _ in range(3):
        listener.begin_batch(0, B, None, (x, y))
        for weight in (1.0, 0.5):
            loss = weight * F.cross_entropy(head(x), y)
            if announced:
                listener.before_backward(loss)
            loss.backward()
        told = listener.end_batch(None, (x, y)).per_sample_loss
        torch.testing.assert_close(told, 1.5 * F.cross_entropy(head(x), y, reduction="none"))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_stays_one_graph_and_is_heard(backend: str) -> None:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    net = nn.Linear(D, 3)

    def step(x: Tensor, y: Tensor) -> Tensor:
        z = net(x)
        return 2 * F.cross_entropy(z, y) + 0.1 * F.mse_loss(z, x[:, :3])

    compiled = torch.compile(step, backend=backend, fullgraph=True)
    listener = Listener(Wants())
    for _ in range(3):
        x, y = vectors()
        told = hear(listener, compiled, (x, y)).per_sample_loss
        heard, net.weight.grad, net.bias.grad = net.weight.grad, None, None
        step(x, y).backward()
        torch.testing.assert_close(heard, net.weight.grad)
        net.weight.grad = net.bias.grad = None
        torch.testing.assert_close(told, alone(step, (x, y)), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_what_is_returned_comes_first() -> None:
    listener, (x, y) = Listener(Wants()), vectors()
    listener.begin_batch(0, B, None, (x, y))
    loss = F.cross_entropy(head(x), y)
    listener.before_backward(loss)
    told = listener.end_batch({"loss": loss, "per_sample_loss": torch.arange(6.0)}, (x, y))
    assert told.per_sample_loss.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert listener.heard.rule is Rule.TOLD


def test_the_users_function_leaves_no_trace() -> None:
    net = nn.Sequential(nn.BatchNorm1d(D), nn.Dropout(), nn.Linear(D, 3))
    listener = Listener(Wants(), net, per_sample_loss=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))
    batch = vectors()
    hear(listener, lambda x, y: F.cross_entropy(net(x), y), batch)
    before = torch.get_rng_state()
    assert int(net[0].num_batches_tracked) == 1
    assert net.training
    told = hear(listener, lambda x, y: net[2](x).sum(), batch).per_sample_loss
    assert torch.equal(torch.get_rng_state(), before)
    assert int(net[0].num_batches_tracked) == 1
    net.eval()
    torch.testing.assert_close(told, F.cross_entropy(net(batch[0]), batch[1], reduction="none"))


class Fused(torch.autograd.Function):
    """A squared or absolute error of its own kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, power: int) -> Tensor:
        ctx.save_for_backward(x - y)
        ctx.power = power
        return (x - y).abs().pow(power).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (error,) = ctx.saved_tensors
        change = 2 * error if ctx.power == 2 else error.sign()
        return change * gradient / error.numel(), None, None


def test_where_no_part_is_heard_gradient_norms_are_told() -> None:
    listener = Listener(Wants())
    for size in (6, 6, 4):
        x, y = (part[:size] for part in vectors())
        told = hear(listener, lambda x, y: Fused.apply(head(x), one_hot(y), 2), (x, y), size).per_sample_loss
        wanted = 2 / 3 * (head(x) - one_hot(y)).norm(dim=1)
        torch.testing.assert_close(told, wanted.detach())
    assert listener.heard.rule is Rule.NORMS


@pytest.mark.parametrize(("epochs", "after"), [(20, 20), (None, 10)])
def test_a_constant_norm_is_no_source_and_the_batch_loss_is_told_with_a_warning(epochs: int | None, after: int) -> None:
    listener, batch = Listener(Wants(), epochs=epochs), vectors()
    wanted = f"after {after} epochs that has a correlation of about {1 / math.sqrt(1 + 5 / after):.2f} with"
    with pytest.warns(UserWarning, match=wanted):
        told = hear(listener, lambda x, y: Fused.apply(head(x), one_hot(y), 1), batch).per_sample_loss
    loss = (head(batch[0]) - one_hot(batch[1])).abs().mean()
    torch.testing.assert_close(told, loss.detach().expand(B))
    assert listener.heard.rule is Rule.BATCH


def test_a_training_without_end_says_so_as_well() -> None:
    """Where nothing is heard, and `max_epochs` is -1, as in `dynsel compare`."""

    class Hidden(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch[:2]
            return Fused.apply(self(x), F.one_hot(y, 2).float(), 1)

    with pytest.warns(UserWarning, match="each sample is credited with the loss of its batches"):
        _, trainer = fit(DynamicSelection("loss", keep_ratio=0.5), module=Hidden(), max_epochs=-1, max_steps=12)
    assert trainer.global_step == 12


def test_a_regulariser_of_weights_says_nothing_of_samples() -> None:
    wide = nn.Linear(D, B)
    batch = torch.randn(B, D), torch.randint(0, B, (B,))
    for penalty in (lambda: wide.weight.pow(2).sum(), lambda: F.mse_loss(wide.weight, torch.zeros(B, D))):
        told = hear(Listener(Wants()), lambda x, y: F.cross_entropy(wide(x), y) + 0.01 * penalty(), batch)  # noqa: B023
        torch.testing.assert_close(told.per_sample_loss, F.cross_entropy(wide(batch[0]), batch[1], reduction="none"))


def test_rows_that_are_samples_in_some_batches_only_are_followed() -> None:
    """As many boxes as images in the first batches, and more or fewer afterwards."""
    listener = Listener(Wants())

    def step(x: Tensor, y: Tensor, of: Tensor) -> Tensor:
        return F.mse_loss(head(x[of]), one_hot(y[of]))

    for of in (torch.arange(B), torch.arange(B), torch.tensor([0, 0, 1, 2, 3, 4, 5, 5]), torch.arange(B).repeat(2)):
        x, y = vectors()
        told = hear(listener, lambda x, y: step(x, y, of), (x, y)).per_sample_loss  # noqa: B023
        if told is not None:
            torch.testing.assert_close(told, (head(x) - one_hot(y)).square().mean(1).detach())
    assert told is not None


def test_a_skipped_batch_tells_nothing() -> None:
    listener, batch = Listener(Wants()), vectors()
    listener.begin_batch(0, B, None, batch)
    assert listener.end_batch(None, batch) == Told()
    listener.begin_batch(0, B, None, batch)
    listener.skip_batch()
    assert open_modes() == []
    listener.close()


class OfTokens(pl.LightningModule):
    """Rows aren't samples, and a sample's loss is folded from its own."""

    def __init__(self, *, automatic: bool = True) -> None:
        super().__init__()
        self.net, self.automatic_optimization = nn.Linear(D, V), automatic

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch[0]).view(-1, V), batch[1].view(-1))
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
@pytest.mark.parametrize(("selector", "automatic"), [("infobatch", True), ("hybrid", False), ("hybrid", True)])
def test_tokens_are_heard_where_torchs_default_is_another_dtype(precision: Any, selector: str, automatic: bool) -> None:
    data = TensorDataset(torch.randn(32, T, D), torch.randint(0, V, (32, T)))
    selection = DynamicSelection(selector, keep_ratio=0.5)
    module = OfTokens(automatic=automatic)
    loader = DataLoader(data, 8, shuffle=True)
    fit(selection, module=module, loader=loader, val=False, max_epochs=3, precision=precision)
    heard = selection.selector.average if selector == "infobatch" else selection.selector.terms["uncertainty"].average
    assert torch.isfinite(heard).any()
    assert heard.dtype == torch.float32
