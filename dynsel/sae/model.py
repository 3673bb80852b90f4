"""The top-k sparse autoencoder as a module; public as `dynsel.sae`.

Shapes: B rows, d feature dim, m factors, k active factors per row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel._lib.checks import check_integer

__all__ = ["TopKSAE"]


class TopKSAE(nn.Module):
    """A row of features as a sum of at most k of m unit vectors ("atoms"), with positive activations.

    Rows are standardised by one mean and one scale (buffers, see `fit_sae`), so that the reconstruction error
    is in units of the features' own variance. Every atom starts as a random direction, and as its own encoder.

    Args:
        dim: Width d of the features.
        num_factors: Number m of factors, at least 1.
        k: Largest number of active factors per row, at most `num_factors`.
        generator: Source of the initial atoms; None = one seeded with 0, never the global one.

    Attributes:
        decoder: (m, d) atoms, one per row, of unit norm.

    Raises:
        ValueError: If a size is below 1, or `k` above `num_factors`.

    Reference:
        Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, num_factors: int, k: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        dim = check_integer("dim", dim, at_least=1)
        num_factors, k = check_integer("num_factors", num_factors, at_least=1), check_integer("k", k)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"`generator` must be a torch.Generator, got {generator!r}")
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

    def standardize(self, x: Tensor) -> Tensor:
        """Features with the training rows' mean taken out, divided by their one scale.

        Args:
            x: (B, d) features, any floating point.

        Returns:
            (B, d) float32; over the rows that it was trained on, of mean 0 and mean variance 1.
        """
        return (x.float() - self.mean) / self.scale

    def drive(self, rows: Tensor) -> Tensor:
        """What each factor would be activated by, before top-k and ReLU.

        Args:
            rows: (B, d) standardised rows, as of `standardize`.

        Returns:
            (B, m) floats, of either sign.
        """
        return F.linear(rows - self.pre_bias, self.encoder, self.encoder_bias)

    @staticmethod
    def strongest(drive: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k strongest factors of each row.

        Args:
            drive: (B, m) floats, as of `drive`.
            k: Number of factors that stay, 1 .. m.

        Returns:
            (B, k) activations, at least 0 and descending, and the (B, k) int64 indices of their factors.
        """
        values, indices = drive.topk(k, dim=1)
        return values.relu(), indices

    def combine(self, values: Tensor, indices: Tensor) -> Tensor:
        """Sums of atoms, each times its activation; a standardised row without the pre-bias.

        Args:
            values: (B, k) activations.
            indices: (B, k) int64 factors, in [0, m).

        Returns:
            (B, d) floats.
        """
        return F.embedding_bag(indices, self.decoder, per_sample_weights=values, mode="sum")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Activations of features: their codes.

        Args:
            x: (B, d) features, any floating point.

        Returns:
            (B, k) activations, at least 0 and descending, and the (B, k) int64 indices of their factors.
        """
        return self.strongest(self.drive(self.standardize(x)), self.k)

    def decode(self, values: Tensor, indices: Tensor) -> Tensor:
        """Features rebuilt from codes, in the units of the features.

        Args:
            values: (B, k) activations, any floating point.
            indices: (B, k) factors, any integer type, in [0, m).

        Returns:
            (B, d) float32.
        """
        rows: Tensor = self.combine(values.float(), indices.long()) + self.pre_bias
        return rows * self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Features as the autoencoder rebuilds them.

        Args:
            x: (B, d) features, any floating point.

        Returns:
            (B, d) float32, in the units of the features.
        """
        return self.decode(*self.encode(x))

    @torch.no_grad()
    def scale_encoder(self, x: Tensor) -> None:
        """Scale the initial encoder, in place, by the one number with which it rebuilds some features best.

        k random atoms that all resemble a row add up to much more than the row.

        Args:
            x: (B, d) features, any floating point.
        """
        rows = self.standardize(x)
        rebuilt = self.combine(*self.encode(x))
        self.encoder.mul_((rows * rebuilt).sum() / rebuilt.square().sum().clamp_min(1e-12))

    @torch.no_grad()
    def drop_radial_gradient(self) -> None:
        """Remove the part of the decoder's gradient along the atoms, which normalising would undo anyway."""
        if self.decoder.grad is not None:
            along = (self.decoder.grad * self.decoder).sum(1, keepdim=True)
            self.decoder.grad -= along * self.decoder

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Bring the atoms back to unit norm."""
        self.decoder.copy_(F.normalize(self.decoder, dim=1))
