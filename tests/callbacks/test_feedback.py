"""Which samples a batch held, what their losses were, and loss weights on the way back."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from programs.ddp_checks import Captures, Still
from scipy.stats import entropy
from support import Fixed, Indexed, Listening, Module, N, SaveEvery, Sizes, fit, same_weights, selection, train_loader
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack as open_modes

from dynsel.callbacks import DynamicSelection
from dynsel.selection import Selection
from dynsel.selectors import Feedback, Random


# ---------------------------------------------------------------- indices
class Watch(pl.Callback):
    """Notes, beside each batch's own indices, those that the plugin says it held."""

    def __init__(self, selection: DynamicSelection) -> None:
        self.selection = selection
        self.wanted: list[list[int]] = []
        self.observed: list[list[int]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.wanted.append(batch[2].tolist())
        self.observed.append(self.selection.indices(batch_idx).tolist())


@pytest.mark.parametrize(
    ("batches", "options", "loader_options"),
    [
        (20, {}, {}),
        (20, {}, {"num_workers": 2, "prefetch_factor": 4}),
        (20, {}, {"num_workers": 1, "persistent_workers": True}),
        (20, {}, {"num_workers": 2, "in_order": False}),
        (19, {}, {"drop_last": True, "batch_size": 4}),
        (20, {"accumulate_grad_batches": 3}, {}),
        (11, {"limit_train_batches": 3}, {"num_workers": 2}),
        (20, {"reload_dataloaders_every_n_epochs": 1}, {}),
    ],
)
def test_indices_of_each_batch(batches, options, loader_options):
    chosen = selection((12, 40, 19, 8))
    watch = Watch(chosen)
    fit(chosen, watch, loader=train_loader(**loader_options), **options)
    assert len(watch.wanted) == batches
    assert watch.observed == watch.wanted


def test_indices_after_a_resume(tmp_path):
    saver = SaveEvery(tmp_path)
    fit(selection((20, 12)), saver, max_epochs=2)
    for step, path in enumerate(saver.paths):
        chosen = selection((20, 12))
        watch = Watch(chosen)
        fit(chosen, watch, max_epochs=2, ckpt_path=path)
        assert len(watch.wanted) == 8 - (step + 1)
        assert watch.observed == watch.wanted


class AsksForIndices(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self.trainer.selection.indices(batch_idx).tolist() == batch[2].tolist()
        return super().training_step(batch, batch_idx)


def test_the_module_can_ask_the_trainer():
    module, trainer = fit(selection(), module=AsksForIndices())
    assert module.batches() == [3, 10, 5, 2]
    assert not hasattr(trainer, "selection")


# ---------------------------------------------------------------- per-sample losses
def one_hot(y: Tensor) -> Tensor:
    return F.one_hot(y, 2).float()


def positions(logits: Tensor) -> Tensor:
    """Logits of three positions a sample, (B, 2, 3)."""
    return logits.unsqueeze(-1) * torch.tensor([1.0, 2.0, -1.0])


def targets(y: Tensor) -> Tensor:
    return torch.stack([y, 1 - y, torch.full_like(y, -100)], 1)


CLASS_WEIGHTS = torch.tensor([1.0, 3.0])
Loss = Callable[[Tensor, Tensor, str], Tensor]
LOSSES: dict[str, Loss] = {
    "cross_entropy": lambda z, y, r: F.cross_entropy(z, y, reduction=r),
    "cross_entropy, smoothed": lambda z, y, r: F.cross_entropy(z, y, label_smoothing=0.1, reduction=r),
    "cross_entropy, soft": lambda z, y, r: F.cross_entropy(z, 0.8 * one_hot(y) + 0.1, reduction=r),
    "cross_entropy, class weights": lambda z, y, r: F.cross_entropy(z, y, CLASS_WEIGHTS, reduction=r),
    "cross_entropy, ignored": lambda z, y, r: F.cross_entropy(z, y, ignore_index=1, reduction=r),
    "cross_entropy, positions": lambda z, y, r: F.cross_entropy(positions(z), targets(y), reduction=r),
    "CrossEntropyLoss": lambda z, y, r: nn.CrossEntropyLoss(CLASS_WEIGHTS, label_smoothing=0.1, reduction=r)(z, y),
    "nll_loss": lambda z, y, r: F.nll_loss(z.log_softmax(1), y, reduction=r),
    "NLLLoss": lambda z, y, r: nn.NLLLoss(reduction=r)(z.log_softmax(1), y),
    "mse_loss": lambda z, y, r: F.mse_loss(z, one_hot(y), reduction=r),
    "MSELoss": lambda z, y, r: nn.MSELoss(reduction=r)(z[:, 0], y.float()),
    "l1_loss": lambda z, y, r: F.l1_loss(z, one_hot(y), reduction=r),
    "smooth_l1_loss": lambda z, y, r: F.smooth_l1_loss(z, one_hot(y), reduction=r, beta=0.5),
    "huber_loss": lambda z, y, r: nn.HuberLoss(reduction=r)(z, one_hot(y)),
    "binary_cross_entropy": lambda z, y, r: F.binary_cross_entropy(z.sigmoid(), one_hot(y), reduction=r),
    "BCEWithLogitsLoss": lambda z, y, r: nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS, reduction=r)(z, one_hot(y)),
    "kl_div": lambda z, y, r: F.kl_div(z.log_softmax(1), 0.8 * one_hot(y) + 0.1, reduction=r),
    "poisson_nll_loss": lambda z, y, r: nn.PoissonNLLLoss(reduction=r)(z, one_hot(y)),
    "gaussian_nll_loss": lambda z, y, r: F.gaussian_nll_loss(z, one_hot(y), torch.full_like(z, 0.5), reduction=r),
    "soft_margin_loss": lambda z, y, r: F.soft_margin_loss(z, 2 * one_hot(y) - 1, reduction=r),
    "multi_margin_loss": lambda z, y, r: F.multi_margin_loss(z, y, reduction=r),
    "multilabel_margin_loss": lambda z, y, r: F.multilabel_margin_loss(
        z, torch.stack([y, torch.full_like(y, -1)], 1), reduction=r
    ),
    "multilabel_soft_margin_loss": lambda z, y, r: nn.MultiLabelSoftMarginLoss(reduction=r)(z, one_hot(y)),
    "hinge_embedding_loss": lambda z, y, r: F.hinge_embedding_loss(z, 2 * one_hot(y) - 1, reduction=r),
}


class Losses(Module):
    """Trains with a loss, and notes what it is for each sample."""

    def __init__(self, loss: Loss = LOSSES["cross_entropy"], reduction: str = "mean", **options: Any) -> None:
        torch.manual_seed(1)
        super().__init__(**options)
        self.loss, self.reduction = loss, reduction
        self.own: dict[int, dict[int, float]] = defaultdict(dict)

    def note(self, z: Tensor, batch: Any) -> None:
        with torch.no_grad():
            # The loss of a batch of one; class weights cancel out in it, and what is ignored has none.
            values = torch.stack(
                [self.loss(z[i : i + 1], y[None], "mean").float().mean() for i, y in enumerate(batch[1])]
            )
        self.own[self.current_epoch] |= dict(zip(batch[2].tolist(), values.tolist(), strict=True))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        z = self(batch[0])
        self.note(z, batch)
        return self.loss(z, batch[1], self.reduction).mean()


def same(told: list[dict[int, float]], own: dict[int, dict[int, float]]) -> bool:
    """Whether each epoch was told the module's own losses, but for the rounding of a mean."""
    wanted = [own[epoch] for epoch in range(len(told))]
    return told == [pytest.approx(losses, rel=1e-5, abs=1e-6, nan_ok=True) for losses in wanted]


def heard(
    module: Losses, sizes: tuple[int, ...] = (18, 8), score: Any = None, **options: Any
) -> list[dict[int, float]]:
    """Per-sample losses by index, one dict an epoch, that the selector was told."""
    selector = Listening()
    chosen = DynamicSelection(selector, Sizes(sizes), per_sample_loss=score)
    fit(chosen, module=module, max_epochs=len(sizes), **options)
    told = [f for f in selector.heard if f.per_sample_loss is not None]
    assert [f.per_sample_loss.dtype for f in told] == [torch.float32] * len(told)
    return [dict(zip(f.indices.tolist(), f.per_sample_loss.tolist(), strict=True)) for f in told]


@pytest.mark.parametrize("name", LOSSES)
def test_a_usual_loss_is_overheard(name):
    module = Losses(LOSSES[name])
    assert same(heard(module), module.own)
    assert len(module.own[0]) == 18


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_whatever_the_reduction(reduction):
    module = Losses(reduction=reduction)
    assert same(heard(module), module.own)


def test_the_old_arguments_of_torch():
    module = Losses(lambda z, y, r: F.cross_entropy(z, y, **({"reduction": r} if r == "none" else {"reduce": False})))
    assert same(heard(module), module.own)


@pytest.mark.parametrize(
    "options", [{"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}]
)
def test_the_scale_is_that_of_training_step(options):
    module = Losses()
    assert same(heard(module, **options), module.own)


def test_the_mean_is_the_loss():
    module = Losses()
    logged: list[float] = []

    class Log(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            mine = [pl_module.own[0][i] for i in batch[2].tolist()]
            logged.append(float(outputs["loss"]) * 2 - sum(mine) / len(mine))

    selector = Listening()
    fit(DynamicSelection(selector, Sizes((18,))), Log(), module=module, max_epochs=1, accumulate_grad_batches=2)
    assert logged == pytest.approx([0.0] * 5, abs=1e-5)
    told = dict(zip(selector.heard[0].indices.tolist(), selector.heard[0].per_sample_loss.tolist(), strict=True))
    assert told == module.own[0]


class StillLosses(Still):
    """Does not learn, so that the losses can be computed afterwards, and takes notes of nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.parametrize("part", ["network", "module"])
def test_compiled(part):
    module = StillLosses()
    with torch.no_grad():
        data = Indexed()
        wanted = F.cross_entropy(module.net(data.x), torch.tensor(data.targets), reduction="none")
    if part == "network":
        module.net = torch.compile(module.net, backend="eager")
        [told] = heard(module, (8,), val=False)
    else:
        [told] = heard(torch.compile(module, backend="eager"), (8,), val=False)
    assert len(told) == 8
    assert told == pytest.approx({i: float(wanted[i]) for i in told}, rel=1e-4)


class ByKey(Losses):
    """A loss that nobody knows, told by the key."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y, i = batch
        z = self(x)
        values = (z - one_hot(y)).abs().pow(1.5).mean(1)
        self.own[self.current_epoch] |= dict(zip(i.tolist(), values.tolist(), strict=True))
        return {"loss": values.mean(), "per_sample_loss": values}


def test_by_key():
    module = ByKey()
    assert same(heard(module, accumulate_grad_batches=2), module.own)


def test_by_function():
    calls: list[tuple[bool, bool, int]] = []

    def score(module: pl.LightningModule, batch: Any) -> Tensor:
        values = module(batch[0]).sum(1)
        calls.append((values.requires_grad, torch.is_grad_enabled(), len(values)))
        return batch[2].float()

    assert heard(ByHand(), (6,), score=score) != []
    assert calls == [(False, False, 4), (False, False, 2)]
    [told] = heard(ByHand(), (6,), score=score)
    assert told == {i: float(i) for i in told}
    assert len(told) == 6


def test_the_key_of_the_wrong_length():
    class Short(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self(batch[0]).mean(), "per_sample_loss": torch.zeros(3)}

    with pytest.raises(
        ValueError, match="`per_sample_loss` must have one row per sample of batch 0: expected 4, got 3"
    ):
        heard(Short())


class ByHand(Losses):
    """A hand-written loss: its mean is overheard."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        z = self(batch[0])
        values = (z.detach() - one_hot(batch[1])).square().mean(1)
        self.own[self.current_epoch] |= dict(zip(batch[2].tolist(), values.tolist(), strict=True))
        return (z - one_hot(batch[1])).square().mean()


class Twice(Losses):
    """Two losses with a weight each."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        z, y = self(batch[0]), one_hot(batch[1])
        values = F.cross_entropy(z, batch[1], reduction="none") + 0.1 * (z - y).square().mean(1)
        self.own[self.current_epoch] |= dict(zip(batch[2].tolist(), values.tolist(), strict=True))
        return F.cross_entropy(z, batch[1]) + 0.1 * F.mse_loss(z, y)


class TwiceByHand(Losses):
    """Two losses with a backward pass each."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer, total = self.optimizers(), 0.0
        for loss in (F.cross_entropy, F.multi_margin_loss):
            optimizer.zero_grad()
            z = self(batch[0])
            total = total + loss(z.detach(), batch[1], reduction="none")
            self.manual_backward(loss(z, batch[1]))
            optimizer.step()
        self.own[self.current_epoch] |= dict(zip(batch[2].tolist(), total.tolist(), strict=True))


class Tokens(Losses):
    """As language models do: a row for each token, not for each sample."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        z = self(batch[0])
        self.note(z, batch)
        return F.cross_entropy(z.repeat_interleave(5, 0), batch[1].repeat_interleave(5))


@pytest.mark.parametrize("module", [ByHand, Twice, TwiceByHand, Tokens])
def test_the_parts_of_a_loss_are_overheard(module):
    module = module()
    assert same(heard(module), module.own)
    assert open_modes() == []


def test_weights_that_cant_be_applied_are_an_error():
    class Norm(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self(batch[0]) - one_hot(batch[1])).norm()

    wanted = r"can't apply the selection's loss weights: the loss of `training_step` .* `trainer\.selection\.weights"
    with pytest.raises(RuntimeError, match=wanted):
        fit(DynamicSelection(Fixed([1, 2, 3], weights=[1.0, 2.0, 3.0]), keep_ratio=0.5), module=Norm())
    assert open_modes() == []


def test_other_losses_of_the_step_dont_disturb():
    class Regularised(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with torch.no_grad():  # a metric
                F.mse_loss(self(batch[0]), one_hot(batch[1]))
            first = self.net[0].weight
            return super().training_step(batch, batch_idx) + F.l1_loss(first, torch.zeros_like(first))

    module = Regularised(dropout=0.0)
    assert same(heard(module), module.own)


def test_manual_optimization_with_one_loss():
    class Manual(Losses):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    module = Manual()
    assert same(heard(module), module.own)


def test_a_batch_skipped_by_the_step_has_no_losses():
    class Skips(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    module = Skips()
    [told] = heard(module, (12,))
    assert same([{i: loss for i, loss in told.items() if loss == loss}], module.own)
    assert len(told) == 12


def test_listening_leaves_the_training_untouched():
    plain, _ = fit(selection((18, 40)), module=Losses(), max_epochs=2)
    module = Losses()
    heard(module, (18, 40))
    assert module.own == plain.own
    assert same_weights(module, plain)


def test_one_forward_a_batch():
    class Counts(Losses):
        forwards = 0

        def forward(self, x: Tensor) -> Tensor:
            self.forwards += 1
            return super().forward(x)

    module = Counts()
    heard(module, (18,), val=False)
    assert module.forwards == 5


def test_losses_that_are_not_finite_dont_poison():
    class MeanLoss(Listening):
        """Keeps a running mean."""

        def __init__(self) -> None:
            super().__init__()
            self.add_state("mean", 0.0)

        def learn(self, feedback: Feedback) -> None:
            known = feedback.finite()
            self.mean[known.indices] += 0.5 * (known.per_sample_loss - self.mean[known.indices])

    class Diverges(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            values = batch[2].float() + 1
            values[batch[2] % 4 == 0] = torch.nan
            values[batch[2] % 4 == 1] = torch.inf
            return {"loss": loss, "per_sample_loss": values}

    selector = MeanLoss()
    fit(DynamicSelection(selector, Sizes((40,))), module=Diverges(), max_epochs=1)
    assert selector.mean.tolist() == [0.0 if i % 4 < 2 else (i + 1) / 2 for i in range(N)]
    assert selector.usage.tolist() == [1] * N


# ---------------------------------------------------------------- the tap is closed
class Skipping(Losses):
    """Gives up each epoch after two batches, and looks what is open meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, int]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.open.append(("step", len(open_modes())))
        return super().training_step(batch, batch_idx)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self.open.append(("backward", len(open_modes())))
        super().backward(loss, *args, **kwargs)

    def on_train_epoch_end(self) -> None:
        self.open.append(("end", len(open_modes())))


def test_skipping_the_rest_of_an_epoch_leaves_no_tap_open():
    module = Skipping()
    told = heard(module, (20, 40), val=False)
    assert module.open == ([("step", 1), ("backward", 0)] * 2 + [("end", 0)]) * 2
    assert same(told, module.own)
    assert [len(epoch) for epoch in told] == [8, 8]
    assert open_modes() == []


class Fails(Losses):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            raise OSError("out of luck")
        return super().training_step(batch, batch_idx)


def test_an_exception_in_the_step_leaves_no_tap_open():
    chosen = DynamicSelection(Listening(), Sizes((20,)))
    trainers: list[pl.Trainer] = []

    class Keep(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainers.append(trainer)

    with pytest.raises(OSError, match="out of luck"):
        fit(chosen, Keep(), module=Fails())
    assert open_modes() == []
    assert not hasattr(trainers[0], "selection")


# ---------------------------------------------------------------- loss weights
class WeightedOnce(Random):
    """Weighs the samples of the first epoch; all count alike afterwards."""

    exact = False
    epochs = 0

    def select(self, progress: float, size: int) -> Selection:
        self.epochs += 1
        if self.epochs == 1:
            return Selection(torch.arange(18), 0.5 + torch.arange(18) / 4)
        return Selection(torch.arange(N), None)


class WeightedByHand(Losses):
    """What the weights are to do: the numerator becomes Σ w l, the denominator stays."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.weights: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        weights = self.trainer.selection.weights(batch_idx)
        self.weights.append(None if weights is None else weights.tolist())
        z, y = self(batch[0]), batch[1]
        if weights is None:
            return self.loss(z, y, self.reduction).mean()
        values = self.loss(z, y, "none")
        plain = self.loss(z, y, self.reduction).mean().detach()
        denominator = values.detach().sum() / plain
        return (values * weights.view(-1, *[1] * (values.ndim - 1))).sum() / denominator


def weighted(module: Losses, *, selector: Any = None, **options: Any) -> Losses:
    selector = WeightedOnce() if selector is None else selector
    return fit(DynamicSelection(selector, keep_ratio=0.5), module=module, **{"max_epochs": 2, **options})[0]


def close(a: nn.Module, b: nn.Module, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(x, y, rtol=rtol, atol=atol) for x, y in pairs)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_reach_the_gradient(name):
    assert close(weighted(Losses(LOSSES[name])), weighted(WeightedByHand(LOSSES[name])))


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_weights_whatever_the_reduction(reduction):
    assert close(weighted(Losses(reduction=reduction)), weighted(WeightedByHand(reduction=reduction)))


@pytest.mark.parametrize(
    ("options", "atol"), [({"accumulate_grad_batches": 2}, 1e-6), ({"precision": "bf16-mixed"}, 2**-5)]
)
def test_weights_with(options, atol):
    # With bfloat16 the gradient is rounded to 8 bits before the weights, or after them, in each of ten steps; without
    # loss weights the network's are 1 or more away.
    assert close(weighted(Losses(), **options), weighted(WeightedByHand(), **options), atol=atol)


def test_weights_matter_and_cross_entropy_means_the_formula():
    class Formula(Losses):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y, i = batch
            weights = self.trainer.selection.weights(batch_idx)
            weights = torch.ones(len(i)) if weights is None else 0.5 + i / 4
            return (weights * -self(x).log_softmax(1)[torch.arange(len(y)), y]).sum() / len(y)

    module = weighted(Losses())
    assert close(module, weighted(Formula()))
    assert not close(module, weighted(Losses(), selector=Fixed(list(range(18)), list(range(N)))))


def test_weights_are_reset_when_the_full_data_returns():
    module = weighted(WeightedByHand(), loader=train_loader(shuffle=False))
    first = [[0.5 + i / 4 for i in range(start, min(18, start + 4))] for start in range(0, 18, 4)]
    assert module.weights == first + [None] * 10


def test_losses_are_told_without_the_weights():
    class Both(WeightedOnce, Listening):
        pass

    selector, module = Both(), Losses()
    weighted(module, selector=selector)
    told = [dict(zip(f.indices.tolist(), f.per_sample_loss.tolist(), strict=True)) for f in selector.heard]
    assert same(told, module.own)


class Cancels(Losses):
    """A loss whose values cancel out to 0, so that sum and mean don't tell what was divided by."""

    def __init__(self, reduction: str, *, by_hand: bool) -> None:
        super().__init__(reduction=reduction, dropout=0.0)
        self.by_hand = by_hand
        self.gradients: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        z = self(batch[0])
        values = torch.tensor([1.0, -1.0]) * (1 - (z - z.detach()))
        if self.by_hand:
            weights = self.trainer.selection.weights(batch_idx)
            return (weights[:, None] * values).sum() / {"mean": 4, "batchmean": 2, "sum": 1}[self.reduction]
        # target (log target - input) is -input for a target of 1.
        loss = F.kl_div(-values, torch.ones_like(values), reduction=self.reduction)
        assert float(loss.detach()) == 0.0
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gradients.append(self.net[3].weight.grad.clone())


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
def test_weights_of_a_loss_that_cancels_out(reduction):
    runs = [Cancels(reduction, by_hand=by_hand) for by_hand in (False, True)]
    for module in runs:
        fit(DynamicSelection(Fixed([0, 1], weights=[1.0, 5.0]), keep_ratio=0.5), module=module, max_epochs=1)
    assert len(runs[0].gradients) == 1
    assert torch.allclose(runs[0].gradients[0], runs[1].gradients[0], rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- features
@pytest.mark.parametrize("source", [None, "model", "model:net.3"])
def test_features_are_what_the_last_linear_layer_takes_in(source):
    selector, module = Captures(), Still()
    fit(DynamicSelection(selector, Sizes((20, 20, 13)), features=source), module=module, max_epochs=3)
    with torch.no_grad():
        wanted = module.net[:3](Indexed().x)
    [features] = selector.fits
    assert torch.allclose(features, wanted, atol=2e-3)


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_features_with(options):
    selector, module = Captures(), Still()
    fit(DynamicSelection(selector, Sizes((20, 20, 13))), module=module, max_epochs=3, **options)
    with torch.no_grad():
        wanted = module.net[:3](Indexed().x)
    assert torch.allclose(selector.fits[0], wanted, atol=3e-2)


@pytest.mark.parametrize("source", ["model", "model:net.3"])
def test_features_of_a_compiled_network(source):
    selector, module = Captures(), Still()
    with torch.no_grad():
        wanted = module.net[:3](Indexed().x)
    module.net = torch.compile(module.net, backend="eager")
    chosen = DynamicSelection(selector, Sizes((20, 20, 4)), features=source)
    fit(chosen, module=module, max_epochs=3, val=False)
    assert torch.allclose(selector.fits[0], wanted, atol=2e-3)


def test_features_of_a_network_that_ran_compiled_before():
    """Its compiled code knows of no hook; without dropout nothing else would make it compile again."""
    torch.compiler.reset()
    selector, module = Captures(), Still()
    module.net = torch.compile(module.net, backend="eager")
    module.train()(Indexed().x[:4])
    fit(DynamicSelection(selector, Sizes((20, 20, 4))), module=module, max_epochs=3, val=False)
    assert len(selector.fits) == 1


def test_features_of_a_submodule_called_twice_are_an_error():
    class Twins(Still):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) + self.net(-x)

    with pytest.raises(RuntimeError, match=r"called 2 times with the 4 samples of the batch.*model:NAME"):
        fit(DynamicSelection(Captures(), Sizes((20,))), module=Twins(), max_epochs=1)


def test_features_of_an_unknown_submodule_are_an_error():
    with pytest.raises(ValueError, match=r"no submodule 'net\.9'; did you mean 'net\.\d'"):
        fit(DynamicSelection(Captures(), Sizes((20,)), features="model:net.9"), module=Still(), max_epochs=1)


def test_the_hook_is_gone_once_all_features_are_there():
    hooks: list[int] = []

    class Count(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            hooks.append(len(pl_module.net[3]._forward_pre_hooks))

    fit(DynamicSelection(Captures(), Sizes((20, 20, 13, 13))), Count(), module=Still(), max_epochs=4)
    assert hooks == [1, 1, 1, 0]


def test_training_that_ends_before_all_features_are_there_says_so():
    text = "training ended before Captures had the features of every sample"
    with pytest.warns(UserWarning, match=text):
        fit(DynamicSelection(Captures(), Sizes((20,))), module=Still(), max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f".*{text}.*")
        fit(DynamicSelection(Captures(), Sizes((20,))), module=Still(), max_epochs=3)
        fit(DynamicSelection(Captures(), Sizes((20,))), module=Still(), fast_dev_run=True)


# ---------------------------------------------------------------- what a selector makes of the logits
class Measures(Random):
    """Asks for one number per sample, and keeps what it is told."""

    wants = frozenset({"value"})
    measures_features = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[int, list[float]] = defaultdict(list)

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        assert not torch.is_grad_enabled()
        assert features is not None
        return logits[:, 0] + 10 * targets + 100 * features.sum(1)

    def learn(self, feedback: Feedback) -> None:
        for i, value in zip(feedback.indices.tolist(), feedback.value.tolist(), strict=True):
            self.heard[i].append(value)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}])
def test_a_selector_measures_each_batch(options: dict[str, Any]) -> None:
    selector, module = Measures(), Still()
    fit(DynamicSelection(selector, Sizes((12, 40, 20, 8))), module=module, **options)
    data = Indexed()
    with torch.no_grad():
        inputs = module.net[:3](data.x)
        wanted = module.net[3](inputs)[:, 0] + 10 * torch.tensor(data.targets) + 100 * inputs.sum(1)
    assert sum(len(values) for values in selector.heard.values()) == 80
    tolerance = {"rtol": 0.05, "atol": 1.0} if options.get("precision") else {"rtol": 1e-4, "atol": 1e-3}
    for i, values in selector.heard.items():
        for value in values:
            torch.testing.assert_close(torch.tensor(value), wanted[i], **tolerance)


@pytest.mark.parametrize("name", ["el2n", "grand", "aum", "ccs", "forgetting"])
def test_coresets_are_fixed_by_what_training_told(name: str) -> None:
    chosen, module = DynamicSelection(name, 0.25, seed=0), Still()
    fit(chosen, module=module, max_epochs=12)
    subsets = [{i for batch in module.seen[epoch] for i in batch} for epoch in range(12)]
    assert set().union(*subsets[:4]) == set(range(N))
    assert all(subset == subsets[11] for subset in subsets[6:])
    selector: Any = chosen.selector
    data = Indexed()
    with torch.no_grad():
        inputs = module.net[:3](data.x)
        wanted = selector.measure(module.net[3](inputs), torch.tensor(data.targets), inputs)
    if name == "forgetting":  # nothing is learned: what is wrong once is so for good
        assert torch.equal(selector.final.floor(), 1 - wanted)
    else:
        torch.testing.assert_close(selector.final, wanted)


class Regression(Still):
    """No classes: what it can't tell yet is told by its losses."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.mse_loss(self(batch[0]), one_hot(batch[1]))


def test_without_a_classification_a_measure_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"EL2N can't find the logits: .* no F\.cross_entropy .* 'random'"):
        fit(DynamicSelection("el2n", keep_ratio=0.5), module=Regression())


def test_a_batch_skipped_by_the_step_is_not_measured() -> None:
    class Skips(Still):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 0 else loss

    selector = Measures()
    fit(DynamicSelection(selector, 1.0), module=Skips(), max_epochs=1)
    values = torch.tensor([values[0] for _, values in sorted(selector.heard.items())])
    assert int(values.isnan().sum()) == 4


class Soft(Still):
    """Soft targets, as of mixup, in every second batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx % 2:
            return super().training_step(batch, batch_idx)
        return F.cross_entropy(self(batch[0]), 0.7 * one_hot(batch[1]) + 0.15)


class Mixed(Still):
    """Mixup as its authors write it: a loss for each of the two labels."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, classes = self(batch[0]), batch[1]
        return 0.7 * F.cross_entropy(logits, classes) + 0.3 * F.cross_entropy(logits, classes.flip(0))


class SmoothedByHand(Still):
    """Label smoothing without a loss function of torch's."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logs = F.log_softmax(self(batch[0]), dim=-1)
        return -(0.9 * logs.gather(1, batch[1][:, None])[:, 0] + 0.1 * logs.mean(1)).mean()


class TwoHeads(Still):
    """Two classifications of the same samples."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, classes = self(batch[0]), batch[1]
        return F.cross_entropy(logits, classes) + F.cross_entropy(-logits, classes)


def told_of(module: Still, **options: Any) -> tuple[Tensor, Tensor]:
    """What Hybrid, the default, was told of every sample, and the logits of the network, which learns nothing."""
    chosen = DynamicSelection(keep_ratio=0.5, **options)
    fit(chosen, module=module)
    with torch.no_grad():
        return chosen.selector.terms["uncertainty"].average, module(Indexed().x)


@pytest.mark.parametrize("module", [Still, Soft, Mixed, SmoothedByHand])
def test_the_default_goes_by_the_entropy_of_the_classes(module: type[Still]) -> None:
    told, logits = told_of(module())
    torch.testing.assert_close(told.numpy(), entropy(logits.softmax(1).numpy(), axis=1), rtol=1e-4, atol=1e-5)


def test_where_there_are_no_classes_the_default_goes_by_the_loss() -> None:
    classes = one_hot(torch.tensor(Indexed().targets))
    told, outputs = told_of(Regression())
    torch.testing.assert_close(told, (outputs - classes).square().mean(1))
    told, outputs = told_of(Regression(), per_sample_loss=lambda module, batch: module(batch[0]).abs().sum(1))
    torch.testing.assert_close(told, outputs.abs().sum(1))


@pytest.mark.parametrize("module", [Soft, SmoothedByHand])
def test_what_needs_classes_is_not_told_mixed_ones(module: type[Still]) -> None:
    with pytest.raises(RuntimeError, match=r"EL2N can't find the logits: .* with classes"):
        fit(DynamicSelection("el2n", keep_ratio=0.5), module=module())


def test_of_two_classifications_the_default_takes_both() -> None:
    told, logits = told_of(TwoHeads())
    both = [entropy((sign * logits).softmax(1).numpy(), axis=1) for sign in (1, -1)]
    torch.testing.assert_close(told.numpy(), (both[0] + both[1]) / 2, rtol=1e-4, atol=1e-5)


def test_without_classes_the_default_goes_by_a_mean_written_by_hand() -> None:
    class Silent(Still):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(batch[0]).square().mean()

    told, outputs = told_of(Silent())
    torch.testing.assert_close(told, outputs.square().mean(1))


# ---------------------------------------------------------------- losses of batches
class Overall(Listening):
    """Wants no sample's own loss."""

    wants = frozenset({"batch_loss"})


class Unheard(Module):
    """Its loss is a product of its own making, which nobody can take apart."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        super().training_step(batch, batch_idx)
        return {"loss": self(batch[0]).square().mean() * 0 + 1.0 + batch_idx}


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_returned_loss_is_told_to_who_wants_no_more(accumulated):
    chosen = DynamicSelection(Overall(), 0.5)
    module = Unheard()
    fit(chosen, module=module, max_epochs=1, accumulate_grad_batches=accumulated)
    [heard] = chosen.selector.heard
    wanted = {i: 1.0 + b for b, batch in enumerate(module.seen[0]) for i in batch}
    assert heard.per_sample_loss is None
    assert dict(zip(heard.indices.tolist(), heard.batch_loss.tolist(), strict=True)) == pytest.approx(wanted)


class Penalised(Module):
    """Notes the loss that each step returns, most of which belongs to no sample."""

    def __init__(self, tells: bool) -> None:
        super().__init__()
        self.tells = tells
        self.losses: list[float] = []
        self.means: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx) + 5 + self.net[0].weight.square().sum()
        self.losses.append(float(loss.detach()))
        if not self.tells:
            return loss
        own = torch.rand(len(batch[2]))
        self.means.append(float(own.mean()))
        return {"loss": loss, "per_sample_loss": own}


@pytest.mark.parametrize("tells", [False, True])
def test_losses_of_batches_are_of_one_kind_with_weights_and_without(tells):
    """The returned loss with all of its terms; or the mean of what the step tells of its samples."""

    class Alternating(Overall):
        def select(self, progress: float, size: int) -> Selection:
            chosen = super().select(progress, size)
            return chosen if int(progress * 4) % 2 else Selection(chosen.indices, torch.rand(size) + 0.5)

    chosen, module = DynamicSelection(Alternating(), 0.5), Penalised(tells)
    fit(chosen, module=module)
    told = [loss for heard in chosen.selector.heard for loss in heard.batch_loss[::4].tolist()]
    assert len(told) == 20
    assert told == pytest.approx(module.means if tells else module.losses, rel=1e-5)


def test_a_step_that_skips_its_batch_tells_no_loss_of_it():
    class Skips(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    chosen = DynamicSelection(Overall(), 0.5)
    fit(chosen, module=Skips(), max_epochs=1)
    [heard] = chosen.selector.heard
    assert heard.batch_loss.isnan().tolist() == [False] * 8 + [True] * 4 + [False] * 8


def test_the_mean_of_the_samples_losses_is_told_beside_them():
    class Both(Listening):
        wants = frozenset({"per_sample_loss", "batch_loss"})

    chosen = DynamicSelection(Both(), 0.5)
    module = Module()
    fit(chosen, module=module, max_epochs=1)
    [heard] = chosen.selector.heard
    own = dict(zip(heard.indices.tolist(), heard.per_sample_loss.tolist(), strict=True))
    mean = dict(zip(heard.indices.tolist(), heard.batch_loss.tolist(), strict=True))
    for batch in module.seen[0]:
        assert [mean[i] for i in batch] == pytest.approx([sum(own[i] for i in batch) / len(batch)] * len(batch))


def test_a_step_that_returns_no_loss_is_told_of():
    class Manual(Module):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"other": 1.0}

    with pytest.raises(RuntimeError, match="Overall goes by the losses of batches, and `training_step` returned none"):
        fit(DynamicSelection(Overall(), 0.5), module=Manual(), max_epochs=1)
