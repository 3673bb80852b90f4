"""Top-k sparse autoencoder over a feature matrix, and what its factors say about the samples.

Shapes: N samples, d feature dim, m factors, k active factors a sample, B batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.features.arrays import check_features

__all__ = ["SAEFit", "SparseCodes", "TopKSAE", "encode", "fit_sae", "load_sae", "save_sae"]

BLOCK = 8192


@dataclass(frozen=True)
class SparseCodes:
    """Which factors each sample activates, and how strongly: 2 k numbers a sample, never a dense (N, m).

    Args:
        indices: (N, k) int16, or int32 from m = 32,768 on.
        values: (N, k) float16, at least 0; an entry of 0 is not active.
        num_factors: m.
    """

    indices: Tensor
    values: Tensor
    num_factors: int

    def __len__(self) -> int:
        return len(self.indices)

    def frequency(self) -> Tensor:
        """(m,) float64: share of the samples that activate each factor."""
        active = self.indices[self.values > 0].long()
        return torch.bincount(active, minlength=self.num_factors).double() / max(1, len(self))

    def keep_factors(self, keep: Tensor) -> SparseCodes:
        """The same codes with all other factors inactive.

        Args:
            keep: (m,) bool.
        """
        values = self.values.clone()
        for block in self._blocks():
            values[block] *= keep[self.indices[block].long()]
        return SparseCodes(self.indices, values, self.num_factors)

    def weighted_mean(self, factor_values: Tensor) -> Tensor:
        """(N,) float32: Σ_j w_ij f_j with w_ij = a_ij / Σ_j a_ij; 0 for a sample without an active factor.

        Args:
            factor_values: (m,) one number a factor.
        """
        result = torch.zeros(len(self))
        for block in self._blocks():
            strength = self.values[block].float()
            weighed = (strength * factor_values.float()[self.indices[block].long()]).sum(1)
            total = strength.sum(1)
            result[block] = torch.where(total > 0, weighed / total.clamp_min(1e-12), 0.0)
        return result

    def _blocks(self) -> Iterator[slice]:
        return (slice(start, start + BLOCK) for start in range(0, len(self), BLOCK))


class TopKSAE(nn.Module):
    """x ≈ decoder(top-k(relu(encoder(x - b)))) + b, on features centred and divided by one common scale.

    Args:
        dim: d.
        num_factors: m.
        k: Active factors a sample, 1 .. m.
        seed: Of the initial directions.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, num_factors: int, k: int, *, seed: int = 0) -> None:
        super().__init__()
        if not 1 <= k <= num_factors:
            raise ValueError(f"`k` must be between 1 and the number of factors, {num_factors}, got {k}")
        self.k = k
        directions = torch.randn(num_factors, dim, generator=torch.Generator().manual_seed(seed))
        self.decoder = nn.Parameter(F.normalize(directions, dim=1))
        # Tied at the start (not later): an encoder that begins as the decoder's transpose leaves few units dead.
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.encoder_bias = nn.Parameter(torch.zeros(num_factors))
        self.pre_bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    @property
    def num_factors(self) -> int:
        """m."""
        return len(self.decoder)

    def standardise(self, x: Tensor) -> Tensor:
        """(B, d) features in any float dtype as the centred and scaled float32 that the autoencoder works on."""
        return (x.float() - self.mean) / self.scale

    def activations(self, z: Tensor) -> Tensor:
        """(B, m) before top-k, of standardised features."""
        return F.linear(z - self.pre_bias, self.encoder, self.encoder_bias)

    def reconstruct(self, values: Tensor, indices: Tensor) -> Tensor:
        """(B, d) standardised features from (B, k) values and indices, without the pre-bias."""
        return F.embedding_bag(indices, self.decoder, per_sample_weights=values, mode="sum")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, k) float32 values, at least 0, and (B, k) int64 indices of the strongest factors of (B, d) features."""
        values, indices = self.activations(self.standardise(x)).topk(self.k, dim=1)
        return values.relu(), indices

    def decode(self, values: Tensor, indices: Tensor) -> Tensor:
        """(B, d) features, in their own units."""
        return (self.reconstruct(values, indices) + self.pre_bias) * self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) reconstruction of (B, d) features."""
        return self.decode(*self.encode(x))


@dataclass(frozen=True)
class SAEFit:
    """A trained autoencoder and how good it is.

    Args:
        sae: The autoencoder, on the CPU.
        fvu: Fraction of variance unexplained over all samples, 0 = perfect.
        dead_share: Share of factors that no sample activates.
        seconds: Time that fitting took.
    """

    sae: TopKSAE
    fvu: float
    dead_share: float
    seconds: float


def fit_sae(
    features: Any,
    *,
    num_factors: int | None = None,
    k: int = 32,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    progress_bar: bool = False,
) -> SAEFit:
    """Train a top-k sparse autoencoder on a feature matrix.

    Deterministic for a seed; draws nothing from a global generator.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        num_factors: m; default 8 d, at most 4,096 and at most N.
        k: Active factors a sample; at most half of m is used.
        epochs: Passes over the features; default: about 1,000 steps, 5 to 100 epochs.
        batch_size: Default N / 8, between 32 and 1,024.
        lr: Adam's learning rate, falling to 0 over the last fifth.
        seed: Of initial directions and order.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        progress_bar: Show one.

    Raises:
        ValueError: If the features are not a finite (N, d) matrix of at least two different rows, or a number is out
            of range.
    """
    from dynsel.sae_training import train

    start = time.perf_counter()
    n, d = check_features(features)
    m = num_factors or max(2, min(8 * d, 4096, n))
    for name, value in (("num_factors", m), ("k", k)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    sae = TopKSAE(d, m, max(1, min(k, m // 2)), seed=seed)
    sae.mean, sae.scale = _moments(features)
    batch = batch_size or min(1024, max(32, n // 8))
    steps_an_epoch = -(-n // batch)
    train(
        sae,
        features,
        epochs=epochs or min(100, max(5, -(-1000 // steps_an_epoch))),
        batch_size=batch,
        lr=lr,
        seed=seed,
        device=device,
        progress_bar=progress_bar,
    )
    fvu, dead_share = _quality(sae, features)
    return SAEFit(sae, fvu, dead_share, time.perf_counter() - start)


@torch.no_grad()
def encode(sae: TopKSAE, features: Any) -> SparseCodes:
    """Sparse codes of all samples, block by block.

    Args:
        sae: A trained autoencoder.
        features: (N, d) floating-point tensor, array or memory map.
    """
    n = len(features)
    dtype = torch.int16 if sae.num_factors <= 32767 else torch.int32
    indices = torch.empty(n, sae.k, dtype=dtype)
    values = torch.empty(n, sae.k, dtype=torch.float16)
    for block, x in blocks(features):
        strength, which = sae.encode(x)
        indices[block], values[block] = which.to(dtype), strength.half()
    return SparseCodes(indices, values, sae.num_factors)


def save_sae(sae: TopKSAE, path: str | Path) -> None:
    """Write the autoencoder as safetensors; a crash never leaves half a file under that name."""
    from safetensors.torch import save_file

    temporary = Path(f"{path}.{os.getpid()}.tmp")
    save_file(dict(sae.state_dict()), temporary, metadata={"format": "dynsel.TopKSAE", "k": str(sae.k)})
    os.replace(temporary, path)


def load_sae(path: str | Path) -> TopKSAE:
    """Read what `save_sae` wrote.

    Raises:
        ValueError: If the file is not of a TopKSAE.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        meta = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if meta.get("format") != "dynsel.TopKSAE":
        raise ValueError(f"{path} is not a sparse autoencoder saved by dynsel")
    m, d = tensors["decoder"].shape
    sae = TopKSAE(d, m, int(meta["k"]))
    sae.load_state_dict(tensors)
    return sae


def blocks(features: Any) -> Iterator[tuple[slice, Tensor]]:
    """The rows in blocks, each as a float32 tensor on the CPU."""
    for start in range(0, len(features), BLOCK):
        block = slice(start, start + BLOCK)
        rows = features[block]
        yield block, (rows if isinstance(rows, Tensor) else torch.from_numpy(np.ascontiguousarray(rows))).cpu().float()


def _moments(features: Any) -> tuple[Tensor, Tensor]:
    """Mean of each column, and the root mean square of all centred entries."""
    n, d = features.shape
    total, square = torch.zeros(d, dtype=torch.float64), 0.0
    for _, x in blocks(features):
        total += x.double().sum(0)
    mean = total / n
    for _, x in blocks(features):
        square += float((x.double() - mean).square().sum())
    scale = (square / (n * d)) ** 0.5
    if not scale > 0:
        raise ValueError("features must differ between samples, got the same row N times")
    return mean.float(), torch.tensor(scale, dtype=torch.float32)


@torch.no_grad()
def _quality(sae: TopKSAE, features: Any) -> tuple[float, float]:
    """Fraction of variance unexplained, and share of factors never active."""
    error = variance = 0.0
    fired = torch.zeros(sae.num_factors, dtype=torch.bool)
    for _, x in blocks(features):
        values, indices = sae.encode(x)
        error += float((sae.decode(values, indices) - x).double().square().sum())
        variance += float((x - sae.mean).double().square().sum())
        fired[indices[values > 0]] = True
    return error / variance, 1.0 - float(fired.double().mean())
