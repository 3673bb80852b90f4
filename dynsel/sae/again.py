"""A short training of a sparse autoencoder that was trained before, on features that moved; public as `dynsel.sae`."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix, moments, take
from dynsel.sae.model import TopKSAE

__all__ = ["train_again"]


def train_again(
    sae: TopKSAE, features: Matrix, *, steps: int = 24, batch_size: int = 1024, lr: float = 1e-3, seed: int = 0
) -> None:
    """Let an autoencoder follow its features, in place: mean and scale anew, then some steps from the weights it has.

    A plain loop without Lightning's Trainer, whose start alone would take longer. Dead factors are not revived: the
    first training has done that.

    Args:
        sae: Autoencoder as `fit_sae` trained it; changed in place.
        features: (N, d) floating-point tensor, array or memory map, finite, not all the same.
        steps: Number of optimiser steps.
        batch_size: Rows a step, drawn without replacement until all were used; at most N.
        lr: Learning rate of Adam, falling to 0 in a straight line.
        seed: Seed of the order of the rows.

    Raises:
        ValueError: If all rows are the same, or the width isn't the autoencoder's.
    """
    count, dim = features.shape
    if dim != sae.dim:
        raise ValueError(f"`features` must be (N, {sae.dim}) for this autoencoder, got {tuple(features.shape)}")
    mean, spread = moments(features)
    if not spread > 0:
        raise ValueError("`features` must differ between samples, got the same row throughout")
    sae.mean.copy_(mean)
    sae.scale.fill_((spread / (count * dim)) ** 0.5)
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(batch_size, count)
    order = torch.zeros(0, dtype=torch.int64)
    with torch.inference_mode(False), torch.enable_grad():
        sae.requires_grad_(True)
        optimizer = torch.optim.Adam(sae.parameters(), lr, betas=(0.9, 0.99))
        for step in range(steps):
            if len(order) < batch_size:
                order = torch.cat([order, torch.randperm(count, generator=generator)])
            batch, order = order[:batch_size], order[batch_size:]
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            optimizer.zero_grad()
            _loss(sae, take(features, batch, sae.decoder.device)).backward()  # type: ignore[no-untyped-call]
            sae.drop_radial_gradient()
            optimizer.step()
            sae.normalize_decoder()
        sae.requires_grad_(False)


def _loss(sae: TopKSAE, x: Tensor) -> Tensor:
    rows = sae.standardize(x)
    drive = sae.drive(rows)
    values, indices = sae.strongest(drive, sae.k)
    # As a dense product: with few factors it takes a fraction of the time of gathering atoms row by row.
    rebuilt = torch.zeros_like(drive).scatter(1, indices, values) @ sae.decoder + sae.pre_bias
    return (rows - rebuilt).square().mean()
