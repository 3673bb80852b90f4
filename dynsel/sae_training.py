"""Training of the sparse autoencoder by Lightning. Apart from `sae.py`, which works without Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dynsel.sae import TopKSAE

__all__ = ["train"]

# Weight of the dead units' loss: Gao et al. (2024), A.2.
AUXILIARY = 1 / 32


class SAETraining(pl.LightningModule):
    """Mean squared error, plus the residual as seen by units that have not fired for a whole epoch."""

    def __init__(self, sae: TopKSAE, num_samples: int, lr: float) -> None:
        super().__init__()
        self.sae, self.num_samples, self.lr = sae, num_samples, lr
        self.idle: Tensor
        self.register_buffer("idle", torch.zeros(sae.num_factors))

    def training_step(self, x: Tensor, batch_idx: int) -> Tensor:
        sae = self.sae
        z = sae.standardise(x)
        activations = sae.activations(z)
        values, indices = activations.topk(sae.k, dim=1)
        values = values.relu()
        reconstruction = sae.reconstruct(values, indices) + sae.pre_bias
        loss = (reconstruction - z).square().mean()
        dead = self._dead(indices[values > 0], len(x))
        if bool(dead.any()):
            loss = loss + AUXILIARY * self._dead_loss(activations, dead, (z - reconstruction).detach())
        return loss

    def _dead(self, fired: Tensor, batch: int) -> Tensor:
        self.idle += batch
        self.idle[fired] = 0
        return self.idle > self.num_samples

    def _dead_loss(self, activations: Tensor, dead: Tensor, residual: Tensor) -> Tensor:
        count = min(int(dead.sum()), max(1, self.sae.decoder.shape[1] // 2))
        values, indices = activations.masked_fill(~dead, -torch.inf).topk(count, dim=1)
        error = (self.sae.reconstruct(values.relu(), indices) - residual).square().mean()
        return error / residual.square().mean().clamp_min(1e-12)

    def on_after_backward(self) -> None:
        # A step along a unit-norm direction would be undone by the normalisation below, but not for Adam's moments.
        decoder = self.sae.decoder
        if decoder.grad is not None:
            decoder.grad -= (decoder.grad * decoder.detach()).sum(1, keepdim=True) * decoder.detach()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            self.sae.decoder.copy_(torch.nn.functional.normalize(self.sae.decoder, dim=1))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 5 * (steps - step) / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Rows(Dataset[Tensor]):
    """Indexed by whole batches, so that no row passes through Python."""

    def __init__(self, features: Any) -> None:
        self.features = features

    def __getitem__(self, rows: Any) -> Tensor:
        if isinstance(self.features, Tensor):
            return self.features[rows.to(self.features.device)]
        # Ascending rows read a memory map forwards.
        return torch.from_numpy(np.ascontiguousarray(self.features[np.sort(rows.numpy())]))


class _Batches(Sampler[Tensor]):
    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        self.num_samples, self.batch_size = num_samples, batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.num_samples, generator=self.generator)
        return iter(torch.split(order, self.batch_size))

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)


def train(
    sae: TopKSAE,
    features: Any,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: str,
    progress_bar: bool,
) -> None:
    """Fit `sae` in place. Works inside another Trainer's hooks, and on one rank of several."""
    n = len(features)
    target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    # DataLoader draws a seed for its workers, from the global generator unless it is given one.
    loader = DataLoader(
        _Rows(features),
        batch_size=None,
        sampler=_Batches(n, batch_size, seed),
        generator=torch.Generator().manual_seed(seed),
    )
    with _quiet():
        # Told everything, Lightning looks for neither other devices nor other ranks.
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if target.type == "cuda" else "cpu",
            strategy=SingleDeviceStrategy(device=target),
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress_bar,
        )
        trainer.fit(SAETraining(sae, n, lr), loader)
    sae.cpu().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notices are about the user's training, not about this one."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
