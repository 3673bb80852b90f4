"""Fit a sparse autoencoder to features; public as `dynsel.sae`.

Lightning is imported when something is trained, not before.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from dynsel._lib.checks import check_flag, check_integer, check_number, check_seed, check_tensor
from dynsel._lib.matrices import Matrix, blocks, check_matrix, moments, take
from dynsel.sae.batches import Batches
from dynsel.sae.model import TopKSAE

__all__ = ["SAEFit", "fit_sae"]


@dataclass(frozen=True)
class SAEFit:
    """A trained autoencoder and how well it does on the rows it was trained on.

    Args:
        sae: The autoencoder, on the device it was trained on.
        fvu: Fraction of variance unexplained: 0 = perfect, 1 = no better than the mean.
        dead_share: Share of factors that no row activates, in [0, 1].
        seconds: Wall-clock time of training and evaluation.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093, for dead units as a measure;
        `fvu` is one minus the usual R².
    """

    sae: TopKSAE
    fvu: float
    dead_share: float
    seconds: float


# Those of Lightning's that leave the weights in float32.
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")


def fit_sae(
    features: Matrix,
    *,
    num_factors: int | None = None,
    k: int = 32,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float = 3e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    precision: str = "32-true",
    mask: Tensor | None = None,
    progress_bar: bool = False,
) -> SAEFit:
    """Train a sparse autoencoder on the rows of `features`.

    May be called inside a running Trainer and in one rank of several: no process group, global generator or
    torch flag is touched. The same seed gives the same result on the same device and number of threads.

    A memory map above 256 MiB is not drawn from row by row, which would cost a disk access each, but by pools: 4,096
    chunks of 64 KiB of neighbouring rows, from random places, and of each pool batches are drawn at random while the
    next one is read. Every row comes once in each pass. In the worst case, a file sorted by class, the number of a
    batch's rows in a class has 1 + batch_size / 4096 times the variance of a free draw. Memory: two pools.

    Args:
        features: (N, d) floating-point tensor, array or memory map, finite; float16 is fine.
        num_factors: Number m of factors; default 8 d, at most 4,096 and at most N, at least 2.
        k: Active factors per row; lowered to m / 2 if above, since a code that uses most factors isn't sparse. Where
            `num_factors` was given, a warning says so.
        epochs: Passes over the rows; default: enough for 1,000 optimiser steps, within 3 .. 50.
        batch_size: Default N / 16, within 32 .. 1,024.
        lr: Learning rate of Adam. The default was measured at d = 64 and 512; 1e-3 needs twice the steps.
        seed: Seed for the initial atoms and the order of the rows.
        device: "auto" takes the device of a tensor on an accelerator, else CUDA if there is any, else the CPU.
        devices: Processes or GPUs on each machine that share every batch, by Lightning's DDP; then this must be called
            on all ranks, and gives each the same result.
        num_nodes: Number of machines that share every batch, likewise.
        precision: Precision of Lightning's Trainer: "32-true", "bf16-mixed" or "16-mixed"; standardizing, weights and
            the loss stay in float32.
        mask: (N,) bool, which rows to train on; None = all.
        progress_bar: Whether to show a progress bar.

    Returns:
        The autoencoder in eval mode and how well it does on the rows it was trained on.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If they aren't (N, d) with N >= 2, aren't finite or are all the same, or an option is out of range.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093, section 2.3 (TopK) and appendix
        A.2 (auxiliary loss).
    """
    start = time.perf_counter()
    check_matrix(features)
    count = len(features)
    factors = max(2, min(8 * features.shape[1], 4096, count)) if num_factors is None else num_factors
    batch_size = min(max(32, count // 16), 1024) if batch_size is None else check_integer("batch_size", batch_size)
    if epochs is None:
        epochs = min(max(3, -(-1000 // -(-count // max(1, batch_size)))), 50)
    _check_options(count, factors, k, epochs, batch_size, lr)
    if num_factors is not None and k > factors // 2:
        warnings.warn(f"`k` = {k} is lowered to {factors // 2}: at most half of the {factors} factors", stacklevel=2)
    seed, progress_bar = check_seed("seed", seed), check_flag("progress_bar", progress_bar)
    if str(precision) not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    devices, num_nodes = _checked_devices(devices, num_nodes, batch_size)
    _check_mask(mask, count)

    from dynsel.sae.training import train

    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # else nothing made here could ever be trained
        sae, spread = _untrained(features, mask, factors, k, generator)
        place = _device(device, features)
        batches = Batches(features, batch_size, epochs, generator, progress_bar, mask)
        place = train(sae, batches, lr, place, devices, num_nodes, precision)
    sae.to(place).eval().requires_grad_(False)
    fvu, dead_share = _evaluate(sae, features, spread, mask)
    return SAEFit(sae, fvu, dead_share, time.perf_counter() - start)


def _check_options(count: int, num_factors: int, k: int, epochs: int, batch_size: int, lr: float) -> None:
    if count < 2:
        raise ValueError(f"`features` must have at least 2 rows, got {count}")
    for name, value, least in (
        ("num_factors", num_factors, 2),
        ("k", k, 1),
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
    ):
        check_integer(name, value, at_least=least)
    check_number("lr", lr, above=0)


def _checked_devices(devices: int, num_nodes: int, batch_size: int) -> tuple[int, int]:
    devices, num_nodes = (
        check_integer("devices", devices, at_least=1),
        check_integer("num_nodes", num_nodes, at_least=1),
    )
    if devices * num_nodes > batch_size:
        raise ValueError(
            f"`devices` times `num_nodes` must be at least 1 and at most `batch_size` = {batch_size}, got {devices} "
            f"times {num_nodes}"
        )
    return devices, num_nodes


def _check_mask(mask: Tensor | None, count: int) -> None:
    if mask is None:
        return
    check_tensor("mask", mask)
    if mask.shape != (count,) or mask.dtype != torch.bool or not bool(mask.any()):
        raise ValueError(f"`mask` must be ({count},) bool and keep a row, got {tuple(mask.shape)} {mask.dtype}")


def _untrained(
    features: Matrix, mask: Tensor | None, num_factors: int, k: int, generator: torch.Generator
) -> tuple[TopKSAE, float]:
    """An autoencoder that standardizes these rows, and the sum of the rows' squared distances from their mean."""
    mean, spread = moments(features, mask)
    used, dim = len(features) if mask is None else int(mask.sum()), features.shape[1]
    if spread <= 1e-12 * used * float(mean.square().sum()):
        raise ValueError("`features` must differ between samples, got the same row throughout")
    sae = TopKSAE(dim, num_factors, min(k, num_factors // 2), generator=generator)
    sae.mean.copy_(mean)
    sae.scale.fill_((spread / (used * dim)) ** 0.5)
    sae.scale_encoder(_sample(features, mask))
    return sae, spread


def _sample(features: Matrix, mask: Tensor | None) -> Tensor:
    """(B, d) float32 on the CPU: some 4,096 rows, evenly spread; those of the mask, unless it has none of them."""
    sample = slice(0, len(features), -(-len(features) // 4096))
    rows = take(features, sample).cpu()
    return rows if mask is None or not mask[sample].any() else rows[mask[sample].cpu()]


def _place(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"`device` must be one that this machine has, got {device!r}: {why}") from error
    return place


def _device(device: str | torch.device, features: Matrix) -> torch.device:
    if not isinstance(device, str | torch.device):
        raise TypeError(f"`device` must be 'auto', 'cpu', 'cuda' or the like, got {device!r}")
    if device != "auto":
        place = _place(device)
    elif isinstance(features, Tensor) and features.device.type != "cpu":
        place = features.device
    else:
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device("cuda", torch.cuda.current_device()) if place == torch.device("cuda") else place


@torch.no_grad()
def _evaluate(sae: TopKSAE, features: Matrix, spread: float, mask: Tensor | None = None) -> tuple[float, float]:
    error = 0.0
    fired = torch.zeros(sae.num_factors, dtype=torch.int64, device=sae.decoder.device)
    for rows in blocks(features, 4096):
        x = take(features, rows, sae.decoder.device)
        x = x if mask is None else x[mask[rows].to(x.device)]
        values, indices = sae.encode(x)
        error += float((sae.decode(values, indices) - x).square().sum())
        fired += torch.bincount(indices[values > 0], minlength=sae.num_factors)
    return error / spread, float((fired == 0).double().mean())
