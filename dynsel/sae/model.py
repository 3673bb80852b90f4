"""Top-k sparse autoencoder: what the features of a data set are made of, and how often each part occurs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel._lib.files import write_atomically
from dynsel._lib.matrices import Matrix, blocks, check_matrix, moments, name_rows, take
from dynsel._lib.tensor_files import read_header, read_tensors

__all__ = ["SAEFit", "SparseCodes", "TopKSAE", "encode", "encode_blocks", "fit_sae", "load_sae", "save_sae"]

_BLOCK = 65_536
_FORMAT = "dynsel.sae"


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Activations of N samples: at most k non-zeros a row, the factors of a row all different.

    Args:
        indices: (N, k) integer factors, in [0, num_factors).
        values: (N, k) floating-point activations, at least 0; an entry of value 0 is inactive.
        num_factors: Number m of factors.

    Raises:
        ValueError: If shapes or ranges don't fit.

    Example:
        >>> codes = SparseCodes(torch.tensor([[0, 2], [2, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0]]), 3)
        >>> codes.frequency().tolist()
        [0.5, 0.0, 1.0]
        >>> codes.weighted_mean(torch.tensor([1.0, 10.0, 5.0])).tolist()
        [2.0, 5.0]
    """

    indices: Tensor
    values: Tensor
    num_factors: int

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.values.shape:
            raise ValueError(
                "`indices` and `values` must both be (N, k), "
                f"got {tuple(self.indices.shape)} and {tuple(self.values.shape)}"
            )
        if self.indices.is_floating_point() or not self.values.is_floating_point():
            raise ValueError(
                "`indices` must be integer and `values` floating point, "
                f"got {self.indices.dtype} and {self.values.dtype}"
            )
        if self.indices.numel() == 0:
            return
        low, high = (int(bound) for bound in torch.aminmax(self.indices))
        if low < 0 or high >= self.num_factors:
            raise ValueError(f"`indices` must be in [0, {self.num_factors}), got {low} to {high}")
        if not float(self.values.min()) >= 0:
            raise ValueError(f"`values` must be at least 0, got {float(self.values.min())}")

    def __len__(self) -> int:
        return len(self.indices)

    def frequency(self) -> Tensor:
        """Share of the samples that activate each factor.

        Returns:
            (m,) float64, in [0, 1].
        """
        counts = torch.zeros(self.num_factors, dtype=torch.int64, device=self.indices.device)
        for rows in blocks(self.indices, _BLOCK):
            active = self.indices[rows][self.values[rows] > 0]
            counts += torch.bincount(active, minlength=self.num_factors)
        return counts.double() / max(1, len(self))

    def weighted_mean(self, factor_values: Tensor) -> Tensor:
        """Mean over each sample's active factors, weighted by their activations: Σ_j a_ij f_j / Σ_j a_ij.

        Args:
            factor_values: (m,) one number f_j for each factor.

        Returns:
            (N,) float32; 0 for a sample without an active factor.

        Raises:
            ValueError: If there isn't one number for each factor.
        """
        if factor_values.shape != (self.num_factors,):
            raise ValueError(f"`factor_values` must be ({self.num_factors},), got {tuple(factor_values.shape)}")
        factor_values = factor_values.to(self.values.device, torch.float32)
        means = torch.zeros(len(self), device=self.values.device)
        for rows in blocks(self.indices, _BLOCK):
            values = self.values[rows].float()
            # Inactive entries don't count even where f_j is infinite.
            terms = torch.where(values > 0, values * factor_values[self.indices[rows].long()], 0.0)
            total = values.sum(1)
            means[rows] = torch.where(total > 0, terms.sum(1) / total, 0.0)
        return means

    def by_class(self, labels: Tensor) -> SparseCodes:
        """The same codes with every factor counted once for each class, as factor label * m + j.

        Args:
            labels: (N,) class codes 0 .. C-1.

        Returns:
            Codes of C * m factors.

        Raises:
            ValueError: If there isn't one label for each sample.
        """
        if labels.shape != (len(self),):
            raise ValueError(f"`labels` must be ({len(self)},), got {tuple(labels.shape)}")
        labels = labels.to(self.indices.device, torch.int64)
        classes = int(labels.max()) + 1
        indices = self.indices.long() + labels[:, None] * self.num_factors
        return SparseCodes(indices, self.values, classes * self.num_factors)

    def keep_factors(self, keep: Tensor) -> SparseCodes:
        """The same codes with the other factors made inactive.

        Args:
            keep: (m,) bool.

        Raises:
            ValueError: If there isn't one entry for each factor.
        """
        if keep.shape != (self.num_factors,) or keep.dtype != torch.bool:
            raise ValueError(f"`keep` must be ({self.num_factors},) bool, got {tuple(keep.shape)} {keep.dtype}")
        keep, values = keep.to(self.values.device), self.values.clone()
        for rows in blocks(self.indices, _BLOCK):
            values[rows].masked_fill_(~keep[self.indices[rows].long()], 0)
        return SparseCodes(self.indices, values, self.num_factors)


class TopKSAE(nn.Module):
    """A row of features as a sum of at most k of m unit vectors ("atoms"), with positive activations.

    Rows are standardised by one mean and one scale (buffers, see `fit_sae`), so that the reconstruction error
    is in units of the features' own variance. Every atom starts as a random direction, and as its own encoder.

    Args:
        dim: Width d of the features.
        num_factors: Number m of factors.
        k: Largest number of active factors a row, at most `num_factors`.
        generator: Source of the initial atoms; None = one seeded with 0, never the global one.

    Attributes:
        decoder: (m, d) atoms, one a row, of unit norm.

    Raises:
        ValueError: If a size is below 1, or `k` above `num_factors`.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, num_factors: int, k: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if dim < 1 or num_factors < 1:
            raise ValueError(f"`dim` and `num_factors` must be at least 1, got {dim} and {num_factors}")
        if not 1 <= k <= num_factors:
            raise ValueError(f"`k` must be in [1, num_factors] = [1, {num_factors}], got {k}")
        self.dim, self.num_factors, self.k = dim, num_factors, k
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        atoms = F.normalize(torch.randn(num_factors, dim, generator=generator, dtype=torch.float32), dim=1)
        self.pre_bias = nn.Parameter(torch.zeros(dim))
        self.encoder = nn.Parameter(atoms.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(num_factors))
        self.decoder = nn.Parameter(atoms)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    def standardise(self, x: Tensor) -> Tensor:
        """(B, d) rows of features, any floating point -> (B, d) float32 of mean 0 and mean variance 1."""
        return (x.float() - self.mean) / self.scale

    def drive(self, rows: Tensor) -> Tensor:
        """(B, d) standardised rows -> (B, m) activations before top-k and ReLU."""
        return F.linear(rows - self.pre_bias, self.encoder, self.encoder_bias)

    @staticmethod
    def strongest(drive: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(B, m) -> (B, k) values, at least 0 and descending, and (B, k) int64 indices."""
        values, indices = drive.topk(k, dim=1)
        return values.relu(), indices

    def combine(self, values: Tensor, indices: Tensor) -> Tensor:
        """(B, k) values and indices -> (B, d) weighted sums of atoms."""
        return F.embedding_bag(indices, self.decoder, per_sample_weights=values, mode="sum")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d) features -> (B, k) activations, at least 0 and descending, and (B, k) int64 factors."""
        return self.strongest(self.drive(self.standardise(x)), self.k)

    def decode(self, values: Tensor, indices: Tensor) -> Tensor:
        """(B, k) activations and factors -> (B, d) float32 features."""
        rows: Tensor = self.combine(values.float(), indices.long()) + self.pre_bias
        return rows * self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) features -> (B, d) float32 reconstruction."""
        return self.decode(*self.encode(x))

    @torch.no_grad()
    def scale_encoder(self, x: Tensor) -> None:
        """Scale the initial encoder by the one number that rebuilds (B, d) features best.

        k random atoms that all resemble a row add up to much more than the row.
        """
        rows = self.standardise(x)
        rebuilt = self.combine(*self.encode(x))
        self.encoder.mul_((rows * rebuilt).sum() / rebuilt.square().sum().clamp_min(1e-12))

    @torch.no_grad()
    def drop_radial_gradient(self) -> None:
        """Remove the part of the decoder's gradient along the atoms, which normalising would undo anyway."""
        if self.decoder.grad is not None:
            along = (self.decoder.grad * self.decoder).sum(1, keepdim=True)
            self.decoder.grad -= along * self.decoder

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Bring the atoms back to unit norm."""
        self.decoder.copy_(F.normalize(self.decoder, dim=1))


@dataclass(frozen=True)
class SAEFit:
    """A trained autoencoder and how well it does on the rows it was trained on.

    Args:
        sae: The autoencoder, on the device it was trained on.
        fvu: Fraction of variance unexplained: 0 = perfect, 1 = no better than the mean.
        dead_share: Share of factors that no row activates, in [0, 1].
        seconds: Wall-clock time of training and evaluation.
    """

    sae: TopKSAE
    fvu: float
    dead_share: float
    seconds: float


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
        k: Active factors a row; lowered to m / 2 if above, since a code that uses most factors isn't sparse.
        epochs: Passes over the rows; default: enough for 1,000 optimiser steps, within 3 .. 50.
        batch_size: Default N / 16, within 32 .. 1,024.
        lr: Learning rate of Adam. The default was measured at d = 64 and 512; 1e-3 needs twice the steps.
        seed: Decides initial atoms and order of the rows.
        device: "auto" takes the device of a tensor on an accelerator, else CUDA if there is any, else the CPU.
        devices: Processes or GPUs on each machine that share every batch, by Lightning's DDP; then this must be called
            on all ranks, and gives each the same result.
        num_nodes: Machines, likewise.
        precision: Of Lightning's Trainer, as in "bf16-mixed"; standardising and the loss stay in float32.
        mask: (N,) bool, which rows to train on; None = all.
        progress_bar: Show one.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If they aren't (N, d) with N >= 2, aren't finite or are all the same, or an option is out of range.
    """
    start = time.perf_counter()
    check_matrix(features)
    count, dim = features.shape
    factors = max(2, min(8 * dim, 4096, count)) if num_factors is None else num_factors
    batch_size = min(max(32, count // 16), 1024) if batch_size is None else batch_size
    if epochs is None:
        epochs = min(max(3, -(-1000 // -(-count // max(1, batch_size)))), 50)
    _check_options(count, factors, k, epochs, batch_size, lr)
    if mask is not None and (mask.shape != (count,) or mask.dtype != torch.bool or not bool(mask.any())):
        raise ValueError(f"`mask` must be ({count},) bool and keep a row, got {tuple(mask.shape)} {mask.dtype}")
    if not 1 <= devices * num_nodes <= batch_size:
        raise ValueError(
            f"`devices` times `num_nodes` must be at least 1 and at most `batch_size` = {batch_size}, got {devices} "
            f"times {num_nodes}"
        )
    mean, spread = moments(features, mask)
    used = count if mask is None else int(mask.sum())
    if spread <= 1e-12 * used * float(mean.square().sum()):
        raise ValueError("`features` must differ between samples, got the same row throughout")

    from dynsel.sae.fit import Batches, train

    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # else nothing made here could ever be trained
        sae = TopKSAE(dim, factors, min(k, factors // 2), generator=generator)
        sae.mean.copy_(mean)
        sae.scale.fill_((spread / (used * dim)) ** 0.5)
        sample = slice(0, count, -(-count // 4096))
        rows = take(features, sample).cpu()
        sae.scale_encoder(rows if mask is None or not mask[sample].any() else rows[mask[sample].cpu()])
        place = _device(device, features)
        batches = Batches(features, batch_size, epochs, generator, progress_bar, mask)
        place = train(sae, batches, lr, place, devices, num_nodes, precision)
    sae.to(place).eval().requires_grad_(False)
    fvu, dead_share = _evaluate(sae, features, spread, mask)
    return SAEFit(sae, fvu, dead_share, time.perf_counter() - start)


def encode(
    sae: TopKSAE, features: Matrix, *, batch_size: int = 4096, dtype: torch.dtype = torch.float16
) -> SparseCodes:
    """Sparse codes of all rows, computed on the device of the autoencoder.

    Args:
        sae: Trained autoencoder.
        features: (N, d) floating-point tensor, array or memory map.
        batch_size: Rows at a time; the memory needed is that many times m floats.
        dtype: Type of the activations, float16 or float32.

    Returns:
        Codes on the CPU; factors are int16 where m allows, else int32.

    Raises:
        ValueError: If the width isn't that of the autoencoder, or a row holds NaN or infinite values.
    """
    if features.ndim != 2 or features.shape[1] != sae.dim:
        raise ValueError(f"`features` must be (N, {sae.dim}) for this autoencoder, got {tuple(features.shape)}")
    if batch_size < 1 or dtype not in (torch.float16, torch.float32):
        raise ValueError(f"`batch_size` must be at least 1 and `dtype` float16 or float32, got {batch_size}, {dtype}")
    indices = torch.empty(len(features), sae.k, dtype=index_type(sae))
    values = torch.empty(len(features), sae.k, dtype=dtype)
    for rows, factors, activations in encode_blocks(sae, features, batch_size, dtype):
        indices[rows], values[rows] = factors, activations
    return SparseCodes(indices, values, sae.num_factors)


def index_type(sae: TopKSAE) -> torch.dtype:
    """The smaller of int16 and int32 that holds every factor."""
    return torch.int16 if sae.num_factors < 32_768 else torch.int32


def encode_blocks(
    sae: TopKSAE, features: Matrix, batch_size: int = 4096, dtype: torch.dtype = torch.float16
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Sparse codes block by block: rows, factors and activations, on the device of the autoencoder.

    Args:
        sae: Trained autoencoder.
        features: (N, d) floating-point tensor, array or memory map.
        batch_size: Rows at a time.
        dtype: Type of the activations.

    Raises:
        ValueError: If a row holds NaN or infinite values.
    """
    for rows in blocks(features, batch_size):
        with torch.no_grad():
            x = take(features, rows, sae.decoder.device)
            if not bool(torch.isfinite(x).all()):
                bad = (~torch.isfinite(x).all(1)).nonzero()[:, 0] + rows.start
                raise ValueError(f"`features` must be finite, got NaN or infinite values in {name_rows(bad.tolist())}")
            activations, factors = sae.encode(x)
            # An outlier must not become infinite in float16.
            yield rows, factors.to(index_type(sae)), activations.clamp_max(torch.finfo(dtype).max).to(dtype)


def save_sae(sae: TopKSAE, path: str | Path) -> None:
    """Write an autoencoder as safetensors, its sizes in the header; the file appears whole or not at all.

    Args:
        sae: What to write.
        path: File to write, in a folder that exists.
    """
    from safetensors.torch import save

    path = Path(path)
    sizes = {"dim": sae.dim, "num_factors": sae.num_factors, "k": sae.k}
    tensors = {name: value.detach().cpu().contiguous() for name, value in sae.state_dict().items()}
    write_atomically(path, save(tensors, {"format": _FORMAT, **{name: str(size) for name, size in sizes.items()}}))


def load_sae(path: str | Path, device: str | torch.device = "cpu") -> TopKSAE:
    """Read what `save_sae` wrote; ready to encode, not to be trained on.

    Args:
        path: The file.
        device: Where the autoencoder goes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of `save_sae`.
    """
    header = read_header(path, "autoencoder")
    sizes = [header.get(name, "") for name in ("dim", "num_factors", "k")]
    if header.get("format") != _FORMAT or not all(size.isdecimal() for size in sizes):
        raise ValueError(f"{path} holds no autoencoder written by `save_sae`; it has {sorted(read_tensors(path))[:5]}")
    sae = TopKSAE(*map(int, sizes))
    sae.load_state_dict(read_tensors(path, {n: v.shape for n, v in sae.state_dict().items()}, "its own header"))
    return sae.to(device).eval().requires_grad_(False)


def _check_options(count: int, num_factors: int, k: int, epochs: int, batch_size: int, lr: float) -> None:
    if count < 2:
        raise ValueError(f"`features` must have at least 2 rows, got {count}")
    for name, value, least in (
        ("num_factors", num_factors, 2),
        ("k", k, 1),
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}")
    if not lr > 0:
        raise ValueError(f"`lr` must be above 0, got {lr}")


def _device(device: str | torch.device, features: Matrix) -> torch.device:
    if device != "auto":
        place = torch.device(device)
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
