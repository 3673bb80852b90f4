"""The same loss under other trainers: accumulation, precision, manual optimisation, compilation, checkpointing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kinds.table import (
    BATCH_LOSS,
    EXACT,
    LOSSES,
    NORM,
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
from torch.utils.checkpoint import checkpoint

ANY = (*EXACT, NORM, BATCH_LOSS)


def classifier(step: Any = None, **options: Any) -> Training:
    parts = {"net": mlp(), **options}
    return Training(Module(step or (lambda m, b: F.cross_entropy(m(b[0]), b[1])), **parts), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy × 1", trainer=lambda: {"accumulate_grad_batches": 4})
def accumulation_of_four_batches() -> Training:
    return classifier()


@kind(
    LOSSES,
    hears="cross_entropy × 1",
    trainer=lambda: {"gradient_clip_val": 0.1, "precision": "bf16-mixed"},
    classifies=True,
)
def bf16_mixed_with_clipping() -> Training:
    return classifier()


@kind(LOSSES, hears="cross_entropy", trainer=lambda: {"precision": "bf16-true"}, least=0.98)
def bf16_true() -> Training:
    return classifier()


@kind(LOSSES, hears="mse_loss × 1", trainer=lambda: {"precision": "64-true"})
def float64() -> Training:
    return Training(
        Module(lambda m, b: F.mse_loss(m(b[0]), b[1]), net=mlp(outputs=2), lr=0.01),
        load(vectors(), vectors(features=2)),
    )


def _scaled() -> dict[str, Any]:
    from lightning.pytorch.plugins import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)], "accumulate_grad_batches": 2}


@kind(LOSSES, hears="cross_entropy × 1", trainer=_scaled)
def fp16_mixed_with_a_scaler() -> Training:
    return classifier()


@kind(LOSSES, hears="cross_entropy")
def adamw_with_a_schedule_over_the_steps() -> Training:
    def optimizers(m: Any) -> Any:
        optimizer = torch.optim.AdamW(m.parameters(), 1e-3)
        steps = int(m.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return classifier(optimizers=optimizers)


@kind(LOSSES, hears="cross_entropy")
def lbfgs_with_many_evaluations_a_step() -> Training:
    return classifier(optimizers=lambda m: torch.optim.LBFGS(m.parameters(), 0.1, max_iter=3))


@kind(LOSSES, hears="cross_entropy", also=("infobatch",))
def manual_optimization() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        optimizer = m.optimizers()
        loss = F.cross_entropy(m(batch[0]), batch[1])
        optimizer.zero_grad()
        m.manual_backward(loss)
        optimizer.step()
        return loss.detach()

    return classifier(step, automatic=False)


@kind(LOSSES, hears="cross_entropy", truth=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))
def manual_optimization_with_plain_backward() -> Training:
    def step(m: Any, batch: Any) -> None:
        optimizer = m.optimizers()
        m.last = F.cross_entropy(m(batch[0]), batch[1])
        optimizer.zero_grad()
        m.last.backward()
        optimizer.step()

    return classifier(step, automatic=False)


def _of_two_optimizers(m: Any, batch: Any) -> Tensor:
    hidden = m.net(batch[0])
    return F.cross_entropy(m.head(hidden), batch[1], reduction="none") + 0.5 * ((m.back(hidden) - batch[0]) ** 2).mean(
        1
    )


@kind(LOSSES, hears="mse_loss", truth=_of_two_optimizers)
def two_optimizers() -> Training:
    def step(m: Any, batch: Any) -> None:
        first, second = m.optimizers()
        hidden = m.net(batch[0])
        first.zero_grad()
        m.manual_backward(F.cross_entropy(m.head(hidden), batch[1]))
        first.step()
        second.zero_grad()
        m.manual_backward(0.5 * F.mse_loss(m.back(m.net(batch[0]).detach()), batch[0]))
        second.step()

    def optimizers(m: Any) -> Any:
        first = torch.optim.SGD([*m.net.parameters(), *m.head.parameters()], 0.05)
        return first, torch.optim.SGD(m.back.parameters(), 0.05)

    parts = {"net": mlp(outputs=8), "head": nn.Linear(8, 3), "back": nn.Linear(8, 6)}
    return Training(Module(step, automatic=False, optimizers=optimizers, **parts), load(vectors(), classes()))


@kind(ROWS, hears="cross_entropy", truth=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))
def micro_batches_in_the_step() -> Training:
    """Each batch in parts of two, as where memory is short."""

    def step(m: Any, batch: Any) -> None:
        optimizer = m.optimizers()
        optimizer.zero_grad()
        for x, y in zip(batch[0].split(2), batch[1].split(2), strict=True):
            m.manual_backward(F.cross_entropy(m(x), y) * len(x) / len(batch[0]))
        optimizer.step()

    return classifier(step, automatic=False)


@kind(LOSSES, hears="cross_entropy", truth=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))
def sharpness_aware_minimization() -> Training:
    """Two passes of the same batch a step; Foret et al. (2021), arXiv:2010.01412."""

    def step(m: Any, batch: Any) -> None:
        optimizer = m.optimizers()
        optimizer.zero_grad()
        m.manual_backward(F.cross_entropy(m(batch[0]), batch[1]))
        moves = [0.01 * p.grad for p in m.parameters()]
        with torch.no_grad():
            for p, move in zip(m.parameters(), moves, strict=True):
                p += move
        optimizer.zero_grad()
        m.manual_backward(F.cross_entropy(m(batch[0]), batch[1]))
        with torch.no_grad():
            for p, move in zip(m.parameters(), moves, strict=True):
                p -= move
        optimizer.step()

    return classifier(step, automatic=False)


@kind(LOSSES, hears="cross_entropy", also=("el2n",))
def compiled_network() -> Training:
    training = classifier()
    training.module.net = torch.compile(training.module.net, backend="eager")
    return training


@kind(*ANY)
def compiled_loss_and_network() -> Training:
    """The loss is inside the compiled function, where nothing of Python runs any more."""

    def losses(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(net(x), y)

    compiled = torch.compile(losses, backend="aot_eager", fullgraph=True, dynamic=False)
    return classifier(lambda m, b: compiled(m.net, b[0], b[1]))


@kind(LOSSES, hears="cross_entropy")
def checkpointing_of_the_network() -> Training:
    return classifier(
        lambda m, b: F.cross_entropy(m.head(checkpoint(m.net, b[0], use_reentrant=False)), b[1]),
        net=mlp(outputs=8),
        head=nn.Linear(8, 3),
    )


@kind(LOSSES, hears="cross_entropy")
def checkpointing_with_the_loss_inside() -> Training:
    return classifier(lambda m, b: checkpoint(lambda x, y: F.cross_entropy(m(x), y), b[0], b[1], use_reentrant=False))


@kind(*reversed(ANY))
def reentrant_checkpointing_with_the_loss_inside() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x = batch[0].clone().requires_grad_()  # reentrant checkpointing needs an input with gradient
        return checkpoint(lambda x, y: F.cross_entropy(m(x), y), x, batch[1], use_reentrant=True)

    return classifier(step)


def _averaging() -> dict[str, Any]:
    from lightning.pytorch import callbacks

    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no averages of the weights")
    return {"callbacks": [callbacks.EMAWeightAveraging()]}


@kind(LOSSES, hears="cross_entropy", trainer=_averaging)
def moving_average_of_the_weights() -> Training:
    return classifier()


@kind(LOSSES, hears="cross_entropy")
def freezing_and_thawing_between_epochs() -> Training:
    class Thawing(Module):
        def on_train_epoch_start(self) -> None:
            self.net[0].requires_grad_(self.current_epoch > 0)

    return Training(Thawing(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp()), load(vectors(), classes()))


@kind(LOSSES, hears="cross_entropy")
def some_batches_skipped() -> Training:
    """`training_step` returns None for the second batch of every epoch."""

    class Skipping(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            return None if batch_idx == 1 else self.step(self, batch)

    return Training(
        Skipping(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp()), load(vectors(), classes()), skips=(1,)
    )


@kind(LOSSES, hears="cross_entropy")
def metrics_of_torchmetrics_beside() -> Training:
    from torchmetrics import Accuracy, MeanSquaredError

    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0])
        m.accuracy(logits, batch[1])
        m.log("accuracy", m.accuracy, on_epoch=True, on_step=False)
        m.log("calibration", m.squares(logits.softmax(1).amax(1).detach(), (logits.argmax(1) == batch[1]).float()))
        return F.cross_entropy(logits, batch[1])

    return classifier(step, accuracy=Accuracy("multiclass", num_classes=3), squares=MeanSquaredError())
