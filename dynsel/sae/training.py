"""Training of the sparse autoencoder: a small LightningModule, and a Trainer that leaves no trace.

Not imported by `dynsel.sae` until something is trained, for the sake of its import time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from dynsel._lib.quiet import quiet
from dynsel._lib.trainers import check_processes
from dynsel.sae.batches import Batches
from dynsel.sae.model import TopKSAE

__all__ = ["SAETraining", "train"]

AUXILIARY_WEIGHT = 1 / 32
DECAY_SHARE = 0.2


class SAETraining(pl.LightningModule):
    """Squared error of the standardised rows, plus the auxiliary loss that revives dead factors.

    Args:
        sae: Autoencoder that is trained in place.
        steps: Number of optimiser steps; the learning rate falls to 0 over the last fifth.
        lr: Learning rate of Adam.
        dead_after: A factor that was inactive on this many samples in a row counts as dead.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093 (auxiliary loss: the
        residual rebuilt from the dead factors alone; weight 1/32, about d/2 factors).
    """

    idle: Tensor

    def __init__(self, sae: TopKSAE, steps: int, lr: float, dead_after: int) -> None:
        super().__init__()
        self.sae, self.steps, self.lr, self.dead_after = sae, steps, lr, dead_after
        self.register_buffer("idle", torch.zeros(sae.num_factors, dtype=torch.int64))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch, and the count of samples for which each factor has been idle.

        Args:
            batch: (B, d) features, any floating point.
            batch_idx: Number of the batch; not used.

        Returns:
            Scalar: mean squared error of the standardised rows, plus the auxiliary loss where factors are dead.
        """
        rows = self.sae.standardize(batch)
        drive = self.sae.drive(rows)
        values, indices = self.sae.strongest(drive.float(), self.sae.k)
        rest = rows - self.sae.combine(values, indices) - self.sae.pre_bias
        dead = self._count_idle(values, indices) > self.dead_after
        loss = rest.square().mean()
        if bool(dead.any()):
            loss = loss + AUXILIARY_WEIGHT * self._auxiliary_loss(drive, dead, rest.detach())
        return loss

    def _count_idle(self, values: Tensor, indices: Tensor) -> Tensor:
        active = torch.zeros_like(self.idle).scatter_add_(0, indices.flatten(), (values > 0).long().flatten())
        world = 1 if self._trainer is None else self.trainer.world_size
        if world > 1:  # dead on one rank only is not dead
            active = self.trainer.strategy.reduce(active, reduce_op="sum")
        self.idle = torch.where(active > 0, 0, self.idle + world * len(values))
        return self.idle

    def _auxiliary_loss(self, drive: Tensor, dead: Tensor, rest: Tensor) -> Tensor:
        k = min(self.sae.num_factors, max(1, self.sae.dim // 2))
        values, indices = self.sae.strongest(drive.float().masked_fill(~dead, -torch.inf), k)
        # A perfect reconstruction leaves nothing to divide by.
        return (rest - self.sae.combine(values, indices)).square().mean() / rest.square().mean().clamp_min(1e-12)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Take the part of the decoder's gradient away that would change the length of an atom."""
        self.sae.drop_radial_gradient()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Bring the atoms back to length 1, which a step changes a little."""
        self.sae.normalize_decoder()

    def configure_optimizers(self) -> Any:
        """Adam, and a learning rate that stays until the last part of the steps, and there goes to 0 on a line."""
        # 0.99: with its 0.999 Adam's memory is as long as the whole training here (FVU 0.027 against 0.032).
        optimizer = torch.optim.Adam(self.sae.parameters(), self.lr, betas=(0.9, 0.99))
        decay = LambdaLR(optimizer, lambda step: min(1.0, (self.steps - step) / (DECAY_SHARE * self.steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}


class _Share(pl.Callback):
    """Tells the batches which rank they are for, once that is known."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.batches.rank, self.batches.world = trainer.global_rank, trainer.world_size


def train(
    sae: TopKSAE,
    batches: Batches,
    lr: float,
    device: torch.device,
    devices: int = 1,
    num_nodes: int = 1,
    precision: str = "32-true",
) -> torch.device:
    """Train in place; afterwards the autoencoder is on the CPU. Global state stays as it is.

    Args:
        sae: Initialised autoencoder.
        batches: All batches of the training.
        lr: Learning rate of Adam, above 0.
        device: CPU or one accelerator; with several devices only its kind counts.
        devices: Number of processes or GPUs on each machine.
        num_nodes: Number of machines in all.
        precision: Precision of Lightning's Trainer, as in "bf16-mixed".

    Returns:
        The device of this rank.
    """
    accelerator = "cpu" if device.type == "cpu" else "gpu"
    mine = [device.index or 0] if device.type == "cuda" else []
    with _without_trace(mine):
        if devices * num_nodes > 1:
            options: dict[str, Any] = {"devices": devices, "num_nodes": num_nodes, "strategy": "ddp"}
        else:
            options = {
                "devices": mine or 1,
                "strategy": SingleDeviceStrategy(device),
                "plugins": [LightningEnvironment()],  # whatever cluster we are on, this is one process's own affair
            }
        trainer = pl.Trainer(
            **options,
            callbacks=[_Share(batches)],
            accelerator=accelerator,
            precision=precision,  # type: ignore[arg-type]  # a string of the user's
            use_distributed_sampler=False,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        check_processes(trainer)
        trainer.fit(SAETraining(sae, len(batches), lr, dead_after=batches.count), batches)
        return trainer.strategy.root_device if batches.world > 1 else device


@contextmanager
def _without_trace(cuda_devices: list[int]) -> Iterator[None]:
    with (
        quiet(),
        warnings.catch_warnings(),
        torch.random.fork_rng(cuda_devices),
        torch.cuda.device(cuda_devices[0]) if cuda_devices else nullcontext(),
        # The caller may be a validation hook, where gradients are off.
        torch.enable_grad(),
    ):
        warnings.simplefilter("ignore")
        yield
