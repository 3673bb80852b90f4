"""RRD: frequent factors early, rare factors later, usage penalty throughout."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from dynsel.sae import SparseCodes, encode, fit_sae
from dynsel.schedules import Cosine, Schedule, as_schedule, check_range
from dynsel.selection import gumbel
from dynsel.selectors.base import ScoreSelector
from dynsel.usage import usage_penalty

__all__ = ["RRD", "factor_scores", "rank_within_class"]


class RRD(ScoreSelector):
    """Representativeness and diversity over sparse-autoencoder factors, with a usage-frequency penalty.

    Stated by the paper: factors of a sparse autoencoder trained on the target data; representativeness as
    coverage of frequent factors; diversity as a gradual turn to rare ones; a usage-frequency penalty against
    monopoly; a smooth schedule between the two. The formulas are our reconstruction, the paper's equations
    were not available to us:

    - representativeness R_i = Σ_j w_ij p_j and rarity D_i = Σ_j w_ij (-log p_j) / log N, where p_j is the share
      of the samples of i's class that activate factor j and w_ij = a_ij / Σ_j a_ij (`factor_scores`), both
      ranked within class if `class_balance`, else among all samples;
    - score S_i = (1 - λ) R_i + λ D_i - γ u_i / ū, with λ rising from 0 to 1 over training, u_i the uses of
      sample i and ū their mean (`dynsel.usage.usage_penalty`);
    - the highest scores, as many as asked for.

    γ = 0 trains on a fixed subset for a given λ; a large γ approaches random rotation.

    Args:
        gamma: Weight of the usage penalty, at least 0; a number or a schedule.
        curriculum: λ as a number or a schedule in [0, 1]; default: half a cosine from 0.5, where the two cancel,
            to 1 at half of training. The paper's "representative first" would start at 0, `Cosine(0.0, 1.0)`:
            on CIFAR-10 in six epochs that cost a point.
        noise: Scale of Gumbel noise added to the scores, at least 0.
        num_factors: Units of the autoencoder; default 8 d, at most 4,096.
        k: Active factors per sample.
        sae_epochs: Passes over the features that train the autoencoder; default: see `fit_sae`.
        frequencies: "class" takes a factor's frequency among the samples of the same class, where labels are
            known: what is rare there is atypical, and hard to learn (rank correlation with the loss an epoch
            later 0.5 on CIFAR-10). "dataset" takes it among all samples (there 0.1).
        refresh: Train the autoencoder and score anew after so many epochs, where features are captured from
            the model in training; 0 = never.
        factors: "all" weighs every factor by p_j or -log p_j; "split" counts only the more frequent half of
            the factors for R and the rarer half for D, which makes the two less of a mirror image.
        class_balance: Keep the same share of every class. Off by default: hard classes then get more.
        seed: Seed of autoencoder and noise; None takes the run's seed.

    Reference:
        Zhou, Hua, Guo, Jia (2026), Rethinking Representativeness and Diversity in Dynamic Data Selection,
        arXiv:2603.04981.
    """

    needs_features = True
    state_names = ("usage", "representativeness", "rarity")

    def __init__(
        self,
        *,
        gamma: float | Schedule = 0.5,
        curriculum: float | Schedule | None = None,
        noise: float = 0.0,
        num_factors: int | None = None,
        k: int = 16,
        sae_epochs: int | None = None,
        factors: Literal["all", "split"] = "all",
        frequencies: Literal["class", "dataset"] = "class",
        refresh: int = 5,
        class_balance: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.gamma = as_schedule(gamma)
        self.curriculum = Cosine(0.5, 1.0, finish=0.5) if curriculum is None else as_schedule(curriculum)
        check_range("gamma", self.gamma, 0.0)
        check_range("curriculum", self.curriculum, 0.0, 1.0)
        if not noise >= 0:
            raise ValueError(f"`noise` must be at least 0, got {noise}")
        if factors not in ("all", "split"):
            raise ValueError(f"`factors` must be 'all' or 'split', got {factors!r}")
        if frequencies not in ("class", "dataset"):
            raise ValueError(f"`frequencies` must be 'class' or 'dataset', got {frequencies!r}")
        if refresh < 0:
            raise ValueError(f"`refresh` must be at least 0 epochs, got {refresh}; 0 = never")
        if k < 1 or (num_factors is not None and num_factors < 2):
            raise ValueError(f"`k` must be at least 1 and `num_factors` at least 2, got {k} and {num_factors}")
        self.noise, self.num_factors, self.k, self.sae_epochs = noise, num_factors, k, sae_epochs
        self.factors, self.frequencies = factors, frequencies
        self.refresh, self.keeps_features = refresh, refresh > 0
        self.representativeness: Tensor | None = None
        self.rarity: Tensor | None = None

    @property
    def ready(self) -> bool:
        return self.representativeness is not None

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        super().bind(num_samples, labels, seed=seed)
        self.representativeness = self.rarity = None

    def fit(self, features: Any) -> None:
        """Train the autoencoder and score every sample; the seed decides the result."""
        fit = fit_sae(
            features,
            num_factors=self.num_factors,
            k=self.k,
            epochs=self.sae_epochs,
            seed=self.generator.initial_seed(),
        )
        representativeness, rarity = factor_scores(
            encode(fit.sae, features),
            self.labels if self.frequencies == "class" else None,
            split=self.factors == "split",
        )
        labels = self.labels if self.class_balance else None
        self.representativeness = rank_within_class(representativeness, labels)
        self.rarity = rank_within_class(rarity, labels)

    def scores(self, progress: float) -> Tensor:
        if self.representativeness is None or self.rarity is None:
            raise RuntimeError("RRD has no scores before `fit`")
        late = self.curriculum(progress)
        # In place: at N = 10 million every temporary is 40 MB.
        scores = self.representativeness.numpy() * (1 - late)
        scores += self.rarity.numpy() * late
        if gamma := self.gamma(progress):
            scores -= usage_penalty(self.usage).numpy() * gamma
        if self.noise:
            scores += gumbel(len(scores), self.generator).float().numpy() * self.noise
        return torch.from_numpy(scores)


def factor_scores(
    codes: SparseCodes, labels: Tensor | None = None, *, split: bool = False, too_common: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Representativeness and rarity of each sample from the frequencies of its active factors.

    Args:
        codes: Sparse codes of the N samples.
        labels: (N,) class codes: a factor's frequency is then its share of the samples of the same class.
        split: Count only factors above the median frequency for representativeness, below it for rarity.
        too_common: Factors active in more than this share of all samples say nothing and are left out.

    Returns:
        Two (N,) float32: Σ_j w_ij p_j in [0, 1], and Σ_j w_ij (-log p_j) / log N in [0, 1].

    Example:
        >>> codes = SparseCodes(torch.tensor([[0], [0], [0], [1], [1], [0]]), torch.ones(6, 1), 2)
        >>> factor_scores(codes)[0][-1]  # 4 of 6 samples have factor 0
        tensor(0.6667)
        >>> factor_scores(codes, torch.tensor([0, 0, 0, 1, 1, 1]))[0][-1]  # but only one of the three of its class
        tensor(0.3333)
    """
    frequency = codes.frequency()
    codes = codes.keep_factors(frequency <= too_common)
    if labels is None:
        frequency = codes.frequency()
    else:
        classes = torch.bincount(labels.long())
        codes = codes.by_class(labels)
        frequency = codes.frequency() * (len(labels) / classes.clamp_min(1)).repeat_interleave(
            codes.num_factors // len(classes)
        )
    counted = frequency > 0
    common = frequency
    rare = torch.where(counted, -frequency.clamp_min(1e-12).log() / math.log(max(2, len(codes))), 0.0)
    if split and bool(counted.any()):
        # torch.median takes the lower of the two middle ones, which leaves less than half below it.
        median = frequency[counted].quantile(0.5)
        common = torch.where(frequency >= median, common, 0.0)
        rare = torch.where(frequency < median, rare, 0.0)
    return codes.weighted_mean(common.float()), codes.weighted_mean(rare.float())


def rank_within_class(values: Tensor, labels: Tensor | None = None) -> Tensor:
    """Rank of each value within its class, scaled to [0, 1]; ties to the lower position; 0.5 in a class of one.

    Args:
        values: (N,) float.
        labels: (N,) class codes 0 .. C-1; None ranks all samples together.

    Returns:
        (N,) float32.
    """
    order = torch.argsort(values, stable=True)
    group = torch.zeros(len(values), dtype=torch.int64) if labels is None else labels.long()
    order = order[torch.argsort(group[order], stable=True)]
    sizes = torch.bincount(group)
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty(len(values))
    sorted_group = group[order]
    place = torch.arange(len(values)) - starts[sorted_group]
    ranks[order] = torch.where(sizes[sorted_group] > 1, place / (sizes[sorted_group] - 1).clamp_min(1), 0.5).float()
    return ranks
