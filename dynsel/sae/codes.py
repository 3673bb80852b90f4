"""Sparse codes: only the active factors of each row, in memory and on disk; public as `dynsel.sae`.

Shapes: N samples, d feature dim, m factors, k active factors per row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.array_files import map_array
from dynsel._lib.checks import check_integer, check_tensor
from dynsel._lib.files import new_file, only_writer, start_array, write_atomically
from dynsel._lib.matrices import Matrix, blocks, name_rows, take
from dynsel.sae.model import TopKSAE

__all__ = ["SparseCodes", "encode", "encode_blocks", "load_codes", "save_codes"]

_BLOCK = 65_536
_FORMAT = "dynsel.codes"


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Activations of N samples: at most k non-zeros a row, the factors of a row all different.

    Args:
        indices: (N, k) integer factors, in [0, num_factors).
        values: (N, k) floating-point activations, at least 0; an entry of value 0 is inactive.
        num_factors: Number m of factors, at least 1.

    Raises:
        ValueError: If shapes or ranges don't fit.

    Example:
        >>> codes = SparseCodes(torch.tensor([[0, 2], [2, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0]]), 3)
        >>> codes.frequency().tolist()
        [0.5, 0.0, 1.0]
        >>> codes.weighted_mean(torch.tensor([1.0, 10.0, 5.0])).tolist()
        [2.0, 5.0]

    Reference:
        Zhou, Hua, Guo, Jia (2026), Rethinking Representativeness and Diversity in Dynamic Data Selection,
        arXiv:2603.04981, for statistics of a sparse autoencoder's units; this layout and these formulas are ours.
    """

    indices: Tensor
    values: Tensor
    num_factors: int

    def __post_init__(self) -> None:
        check_tensor("indices", self.indices)
        check_tensor("values", self.values)
        check_integer("num_factors", self.num_factors, at_least=1)
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
            raise ValueError(f"`indices` must be in [0, num_factors) = [0, {self.num_factors}), got {low} to {high}")
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

    def keep_factors(self, mask: Tensor) -> SparseCodes:
        """The same codes with the other factors made inactive.

        Args:
            mask: (m,) bool, which factors stay active.

        Raises:
            ValueError: If there isn't one entry for each factor.
        """
        if mask.shape != (self.num_factors,) or mask.dtype != torch.bool:
            raise ValueError(f"`mask` must be ({self.num_factors},) bool, got {tuple(mask.shape)} {mask.dtype}")
        mask, values = mask.to(self.values.device), self.values.clone()
        for rows in blocks(self.indices, _BLOCK):
            values[rows].masked_fill_(~mask[self.indices[rows].long()], 0)
        return SparseCodes(self.indices, values, self.num_factors)


def encode(
    sae: TopKSAE, features: Matrix, *, batch_size: int = 4096, dtype: torch.dtype = torch.float16
) -> SparseCodes:
    """Sparse codes of all rows, computed on the device of the autoencoder.

    Args:
        sae: Trained autoencoder, on the device to compute on.
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


def encode_blocks(
    sae: TopKSAE, features: Matrix, batch_size: int = 4096, dtype: torch.dtype = torch.float16
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Sparse codes block by block: rows, factors and activations, on the device of the autoencoder.

    Args:
        sae: Trained autoencoder, on the device to compute on.
        features: (N, d) floating-point tensor, array or memory map.
        batch_size: Number of rows at a time.
        dtype: Type of the activations, float16 or float32.

    Yields:
        A slice of B rows, (B, k) int16 or int32 factors and (B, k) activations.

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


def save_codes(
    path: str | os.PathLike[str],
    sae: TopKSAE,
    features: Matrix,
    *,
    batch_size: int = 4096,
    progress_bar: bool = False,
    **facts: Any,
) -> Path:
    """Encode all rows into two memory-mapped arrays and a manifest, in bounded memory.

    `x.json` is the manifest; `x.indices.npy` (N, k) int16 or int32 and `x.values.npy` (N, k) float16 lie beside it. The
    manifest is written last: without it the rest is no codes.

    Args:
        path: The manifest to write, ending in .json.
        sae: Trained autoencoder, on the device to compute on.
        features: (N, d) floating-point tensor, array or memory map.
        batch_size: Number of rows at a time.
        progress_bar: Whether to show a progress bar.
        **facts: What else the manifest shall say, in JSON's types.

    Returns:
        Path of the manifest.

    Raises:
        RuntimeError: If the disk is full.
        ValueError: If the path doesn't end in .json, the width isn't the autoencoder's, or a row isn't finite.
    """
    from dynsel._lib.progress import track

    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"`path` must end in .json, got {path.name!r}")
    if features.ndim != 2 or features.shape[1] != sae.dim:
        raise ValueError(f"`features` must be (N, {sae.dim}) for this autoencoder, got {tuple(features.shape)}")
    shape = (len(features), sae.k)
    types = {"indices": str(index_type(sae)).removeprefix("torch."), "values": "float16"}
    manifest = {"format": _FORMAT, "N": shape[0], "k": sae.k, "num_factors": sae.num_factors, **types, **facts}
    with only_writer(path):
        path.unlink(missing_ok=True)
        with new_file(_array_path(path, "indices")) as indices, new_file(_array_path(path, "values")) as values:
            # Written, not mapped: a full disk is then an error to be caught, and no signal that ends the process.
            for file, kind in ((indices, types["indices"]), (values, types["values"])):
                start_array(file, np.dtype(kind), shape)
            encoded, total = encode_blocks(sae, features, batch_size), -(-len(features) // batch_size)
            for _, factors, activations in track(encoded, "encoding", total, show=progress_bar):
                indices.write(factors.cpu().numpy().tobytes())
                values.write(activations.cpu().numpy().tobytes())
        write_atomically(path, json.dumps(manifest, indent=1))
    return path


def load_codes(path: str | os.PathLike[str]) -> SparseCodes:
    """Open what `save_codes` wrote; memory-mapped, so that only what is looked at is read.

    Args:
        path: The manifest that `save_codes` wrote.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file isn't what the manifest says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no sparse codes {path}")
    try:
        manifest = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ValueError(f"{path} is no manifest of sparse codes; `save_codes` writes one")
    found = {}
    for name in ("indices", "values"):
        file = _array_path(path, name)
        if not file.is_file():
            raise FileNotFoundError(f"{path} says that there are codes, but {file.name} isn't beside it")
        array = map_array(file, writable=True)
        if (array.shape, str(array.dtype)) != ((manifest.get("N"), manifest.get("k")), manifest.get(name)):
            raise ValueError(f"{file} is {array.shape} {array.dtype}, {path.name} says otherwise; encode them again")
        found[name] = torch.from_numpy(array)
    try:
        num_factors = check_integer("num_factors", manifest.get("num_factors"), at_least=1)
        return SparseCodes(found["indices"], found["values"], num_factors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} or what lies beside it is damaged: {error}; encode the features again") from error


def index_type(sae: TopKSAE) -> torch.dtype:
    """The smaller of int16 and int32 that holds every factor.

    Args:
        sae: Autoencoder with m factors; int16 goes up to m = 32,767.
    """
    return torch.int16 if sae.num_factors < 32_768 else torch.int32


def _array_path(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}.npy")
