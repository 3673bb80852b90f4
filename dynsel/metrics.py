"""Metrics of a selection for `torchmetrics`: how like the whole set what was trained on is, and how evenly it was used.

They work as any other metric: `update` with what was trained on, `compute` for the numbers, sums over all ranks.
Shapes: N samples, d feature dim, B any number of samples.
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from dynsel._lib.checks import check_choice, check_integer, check_number, check_seed, check_tensor
from dynsel._lib.matrices import Matrix, check_matrix
from dynsel.cfd import (
    CharacteristicSums,
    Mode,
    amplitude_phase,
    cfd,
    characteristic_sums,
    gaussian_frequencies,
    median_scale,
    neural_cfd,
    random_distances,
    random_floor,
)
from dynsel.sae import SparseCodes
from dynsel.selection import class_balance
from dynsel.usage import gini

__all__ = ["CharacteristicFunctionDistance", "ClassBalance", "FactorCoverage", "NeuralCFDMetric", "UsageGini"]


class CharacteristicFunctionDistance(Metric):
    """Distance between what was trained on and a reference set, usually the whole data set.

    Any subset is some distance away, a small one more than a large one, so `distance` alone says little: `ratio`
    is its ratio to the expected distance of a random subset of the reference of the same size (below 1: more like
    the reference than chance), `z_score` how many standard deviations it lies from the mean of `repeats` such
    subsets. With weights the size is the effective one, (Σw)² / Σw². Both are NaN from N samples on.

    Args:
        reference_features: (N, d) floating-point tensor, array or memory map; kept, not copied.
        num_frequencies: Number F of Gaussian frequencies.
        scale: Standard deviation of the frequencies; default `dynsel.cfd.median_scale` of the reference.
        seed: Seed for the frequencies and the random subsets.
        repeats: Number of random subsets, at least 2.
        **kwargs: See `torchmetrics.Metric`.

    Raises:
        ValueError: If `repeats` is below 2.

    Reference:
        Gretton et al. (2012), A kernel two-sample test (the squared maximum mean discrepancy that the distance
        estimates).

    Example:
        >>> whole = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
        >>> metric = CharacteristicFunctionDistance(whole)
        >>> metric.update(whole[whole[:, 0] > 0])
        >>> round(float(metric.compute()["ratio"]))  # half of a Gaussian is far from chance
        55
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    cos: Tensor
    sin: Tensor
    total: Tensor
    squares: Tensor

    def __init__(
        self,
        reference_features: Matrix,
        num_frequencies: int = 1024,
        scale: float | None = None,
        seed: int = 0,
        repeats: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_matrix(reference_features, "reference_features")
        repeats = check_integer("repeats", repeats, at_least=2)
        num_frequencies = check_integer("num_frequencies", num_frequencies, at_least=1)
        scale = None if scale is None else check_number("scale", scale, above=0)
        seed = check_seed("seed", seed)
        generator = torch.Generator().manual_seed(seed)
        scale = median_scale(reference_features, generator) if scale is None else scale
        self.reference_features, self.seed, self.repeats = reference_features, seed, repeats
        self.frequencies = gaussian_frequencies(num_frequencies, reference_features.shape[1], scale, generator)
        self.reference = characteristic_sums(reference_features, self.frequencies).value().cpu()
        self._random: dict[int, Tensor] = {}
        for name in ("cos", "sin"):
            self.add_state(name, torch.zeros(num_frequencies, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("total", "squares"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Matrix, weights: Tensor | None = None) -> None:
        """Add samples.

        Args:
            features: (B, d) as of the reference.
            weights: (B,) not negative; None = 1 each.
        """
        sums = characteristic_sums(features, self.frequencies, weights)
        self.cos += sums.cos.to(self.cos.device)
        self.sin += sums.sin.to(self.sin.device)
        self.total += sums.total
        self.squares += len(features) if weights is None else float(weights.double().square().sum())

    def compute(self) -> dict[str, Tensor]:
        """`distance` = `amplitude` + `phase`, `ratio` and `z_score`, each a float64 scalar."""
        value = CharacteristicSums(self.cos, self.sin, float(self.total)).value()
        reference, count = self.reference.to(value.device), len(self.reference_features)
        distance = cfd(value, reference)
        amplitude, phase = (part.mean() for part in amplitude_phase(value, reference))
        size = float(self.total) ** 2 / float(self.squares)
        ratio = z_score = torch.full_like(distance, torch.nan)
        if size < count:
            ratio = distance / random_floor(self.reference, max(1.0, size), count)
        if round(size) < count:
            chance = self.random_distances(max(1, round(size))).to(distance)
            z_score = (distance - chance.mean()) / chance.std()
        return {"distance": distance, "amplitude": amplitude, "phase": phase, "ratio": ratio, "z_score": z_score}

    def random_distances(self, size: int) -> Tensor:
        """Distances of random subsets of the reference, the same ones at every call: what chance gives.

        Args:
            size: Number of samples of each subset, 1 .. N.

        Returns:
            (K,) float64 on the CPU for K = `repeats` subsets, each at least 0.
        """
        if size not in self._random:
            generator = torch.Generator().manual_seed(self.seed + 1)
            found = random_distances(
                self.reference_features, self.frequencies, self.reference, size, self.repeats, generator
            )
            self._random = {size: found.cpu()}
        return self._random[size]


class _Usage(Metric):
    """Counts how often each sample was trained on.

    Args:
        num_samples: Number N of samples in the data set, at least 1.
        **kwargs: See `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False
    usage: Tensor

    def __init__(self, num_samples: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        num_samples = check_integer("num_samples", num_samples, at_least=1)
        self.add_state("usage", torch.zeros(num_samples, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, indices: Tensor) -> None:
        """Count samples.

        Args:
            indices: (B,) integer positions in the data set; each occurrence counts.
        """
        indices = indices.detach().to(self.usage.device, torch.int64).flatten()
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self.usage):
            low, high = int(indices.min()), int(indices.max())
            raise ValueError(f"`indices` must be in [0, {len(self.usage)}), got {low} to {high}")
        self.usage += torch.bincount(indices, minlength=len(self.usage))


class UsageGini(_Usage):
    """Gini coefficient of how often each sample was trained on; see `dynsel.usage.gini`.

    Args:
        num_samples: Number of samples, N.
        **kwargs: See `torchmetrics.Metric`.

    Reference:
        Gini (1912), Variabilità e mutabilità.

    Example:
        >>> metric = UsageGini(4)
        >>> metric.update(torch.tensor([3, 3, 3, 3]))
        >>> float(metric.compute())
        0.75
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """Scalar in [0, 1): 0 when all samples were used equally."""
        return torch.tensor(gini(self.usage.cpu()), device=self.usage.device)


class FactorCoverage(_Usage):
    """Share of the factors of a data set that something trained on activates. The measure is ours.

    Factors that no sample activates don't count, so that the whole set covers 1.

    Args:
        codes: Sparse codes of all N samples.
        **kwargs: See `torchmetrics.Metric`.

    Raises:
        TypeError: If `codes` are no `SparseCodes`.
        ValueError: If no sample activates any factor.

    Example:
        >>> codes = SparseCodes(torch.tensor([[0, 2], [2, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0]]), 3)
        >>> metric = FactorCoverage(codes)
        >>> metric.update(torch.tensor([1]))
        >>> float(metric.compute())
        0.5
    """

    higher_is_better = True

    def __init__(self, codes: SparseCodes, **kwargs: Any) -> None:
        if not isinstance(codes, SparseCodes):
            raise TypeError(f"`codes` must be dynsel.sae.SparseCodes, got {type(codes).__name__}")
        super().__init__(len(codes), **kwargs)
        self.codes = codes
        self.live = int((codes.frequency() > 0).sum())
        if self.live == 0:
            raise ValueError("`codes` must have at least one active factor, got none")

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        rows = self.usage.to(self.codes.indices.device).nonzero()[:, 0]
        seen = SparseCodes(self.codes.indices[rows], self.codes.values[rows], self.codes.num_factors)
        covered = int((seen.frequency() > 0).sum())
        return torch.tensor(covered / self.live, device=self.usage.device)


class NeuralCFDMetric(_Usage):
    """Distance of what was trained on from the whole set, at frequencies learned on one half of the samples.

    See `dynsel.cfd.neural.neural_cfd`, of which this is the first result; each sample weighs as often as it was used.

    Args:
        features: (N, d) floating-point tensor, array or memory map of the whole set; kept, not copied.
        num_frequencies: Number F of frequencies.
        mode: "scale-mixture" (learned) or "normal".
        steps: Steps of the network's training, at each `compute`.
        seed: Seed for the halves, the network and the random subsets.
        repeats: Number of random subsets, at least 2.
        **kwargs: See `torchmetrics.Metric`.

    Example:
        >>> whole = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
        >>> metric = NeuralCFDMetric(whole, num_frequencies=64, steps=10)
        >>> metric.update(whole[:, 0].argsort()[:100])
        >>> bool(metric.compute()["z_score"] > 10)
        True

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653; the halves of the data set, ratio and z-score are ours.
    """

    higher_is_better = False

    def __init__(
        self,
        features: Matrix,
        num_frequencies: int = 1024,
        mode: Mode = "scale-mixture",
        steps: int = 50,
        seed: int = 0,
        repeats: int = 20,
        **kwargs: Any,
    ) -> None:
        check_matrix(features)
        super().__init__(len(features), **kwargs)
        self.features = features
        self.options: dict[str, Any] = {
            "num_frequencies": check_integer("num_frequencies", num_frequencies, at_least=2),
            "mode": check_choice("mode", mode, get_args(Mode)),
            "steps": check_integer("steps", steps, at_least=1),
            "seed": check_seed("seed", seed),
            "repeats": check_integer("repeats", repeats, at_least=2),
        }

    def compute(self) -> dict[str, Tensor]:
        """`distance` = `amplitude` + `phase`, `ratio` and `z_score`, each a float64 scalar."""
        found, _ = neural_cfd(self.features, self.usage, **self.options)
        names = ("distance", "amplitude", "phase", "ratio", "z_score")
        return {
            name: torch.tensor(getattr(found, name), dtype=torch.float64, device=self.usage.device) for name in names
        }


class ClassBalance(_Usage):
    """How like the data set what was trained on is in its class shares; see `dynsel.selection.class_balance`. Ours.

    Args:
        labels: (N,) class codes of the data set, at least 0.
        **kwargs: See `torchmetrics.Metric`.

    Raises:
        TypeError: If `labels` is no tensor.
        ValueError: If they aren't (N,) integers of at least 0.

    Example:
        >>> metric = ClassBalance(torch.tensor([0, 0, 1, 1]))
        >>> metric.update(torch.tensor([0, 1, 1, 2]))
        >>> float(metric.compute())
        0.75
    """

    higher_is_better = True

    def __init__(self, labels: Tensor, **kwargs: Any) -> None:
        check_tensor("labels", labels)
        if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or not len(labels):
            raise ValueError(
                f"`labels` must be (N,) integer class codes, got shape {tuple(labels.shape)} of {labels.dtype}"
            )
        check_integer("labels", int(labels.min()), at_least=0)
        super().__init__(len(labels), **kwargs)
        self.labels = labels.cpu()

    def compute(self) -> Tensor:
        """Scalar in (0, 1]: 1 for the same shares; NaN before anything was trained on."""
        trained = torch.repeat_interleave(self.usage.cpu())
        balance = class_balance(self.labels, trained) if len(trained) else torch.nan
        return torch.tensor(balance, device=self.usage.device)
