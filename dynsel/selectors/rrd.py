"""RRD: frequent factors early, rare factors later, usage penalty throughout."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from dynsel._lib.checks import check_choice, check_integer, check_number
from dynsel.sae import encode, fit_sae
from dynsel.schedules import Cosine, Schedule, check_schedule
from dynsel.selection import gumbel
from dynsel.selectors.factors import factor_scores
from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.score_selector import ScoreSelector
from dynsel.usage import usage_penalty

__all__ = ["RRD"]


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

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Zhou, Hua, Guo, Jia (2026), Rethinking Representativeness and Diversity in Dynamic Data Selection,
        arXiv:2603.04981.
    """

    needs_features = True
    representativeness: Tensor | None
    rarity: Tensor | None

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
        self.gamma = check_schedule("gamma", gamma)
        self.curriculum = check_schedule(
            "curriculum", Cosine(0.5, 1.0, finish=0.5) if curriculum is None else curriculum, 0.0, 1.0
        )
        self.noise = check_number("noise", noise, at_least=0)
        self.factors = check_choice("factors", factors, ("all", "split"))
        self.frequencies = check_choice("frequencies", frequencies, ("class", "dataset"))
        self.refresh = check_integer("refresh", refresh, at_least=0, why="it is a number of epochs, 0 = never")
        self.keeps_features = self.refresh > 0
        self.k = check_integer("k", k, at_least=1)
        self.num_factors = None if num_factors is None else check_integer("num_factors", num_factors, at_least=2)
        self.sae_epochs = None if sae_epochs is None else check_integer("sae_epochs", sae_epochs, at_least=1)
        self.add_state("representativeness", None)
        self.add_state("rarity", None)

    def fit(self, features: Any) -> None:
        """Train the autoencoder and score every sample; the seed decides the result.

        Args:
            features: (N, d) floating-point tensor, array or memory map; row i describes sample i.

        Raises:
            TypeError: If they aren't floating point.
            ValueError: If they aren't one finite row per sample.
        """
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
        """S_i = (1 - λ) R_i + λ D_i - γ u_i / ū, plus noise.

        Args:
            progress: Share of training done, in [0, 1], at which λ (`curriculum`) and γ (`gamma`) are read.

        Returns:
            (N,) float32.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
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
