"""Hybrid: a weighted sum of terms, minus the usage penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.schedules import Schedule, as_schedule, check_range
from dynsel.selection import gumbel
from dynsel.selectors.base import Feedback, ScoreSelector, check_epsilon, put_first
from dynsel.selectors.terms import (
    Boundary,
    Loss,
    Material,
    NeuralWitness,
    Rarity,
    Region,
    Representativeness,
    Term,
    Uncertainty,
    Witness,
)
from dynsel.usage import usage_penalty

__all__ = ["Hybrid"]


class Hybrid(ScoreSelector):
    """Takes the highest sums of several terms: uncertainty, loss, factors, characteristic function, graph.

    A share 1 - ε of the epoch are the samples of highest score; the rest is drawn from all others, so that what is easy
    isn't forgotten. Score S_i = Σ_terms weight · value_i - γ u_i / ū + Gumbel noise. Values are in [0, 1] (see
    `dynsel.selectors.terms`), u_i are the uses of sample i and ū their mean. A weight is a number or a schedule
    of progress; a term of weight 0 is not computed, and if no term needs features, neither does the selector.
    With uncertainty or loss samples that were never trained on go first, in random order. For a finish on full data let
    the keep ratio rise: `DynamicSelection(keep_ratio=Step([0.5, 1.0], [0.9]))`.

    By default uncertainty alone decides, which takes no label for granted. It is the entropy of the logits that
    `F.cross_entropy(logits, targets)` or `F.nll_loss` is given, or `F.log_softmax` by a loss written by hand; of mixed
    inputs too. Where training has none (regression), the loss stands in for it. Where labels can be trusted and classes
    are uneven, `uncertainty=0, loss=1` is better: of a rare class taken for a frequent one the model is sure.

    Args:
        uncertainty: Weight of the rank of the smoothed entropy of the predicted classes.
        loss: Weight of the rank of the smoothed loss.
        representativeness: Weight of frequent sparse-autoencoder factors.
        rarity: Weight of rare ones.
        witness: Weight of closing the gap in characteristic functions.
        neural_witness: The same at frequencies that a network learns anew each epoch, which takes seconds.
        boundary: Weight of having neighbours of other classes in the graph of nearest neighbours; needs labels.
        region: Weight of lying in a region of the graph that was trained on little.
        gamma: Weight of the usage penalty.
        noise: Scale of the Gumbel noise.
        epsilon: Share of the epoch drawn at random from all but the samples of highest score, in [0, 1].
        smoothing: Of entropy and loss: share of the old average that a new one leaves, in [0, 1).
        clip: Share of the samples of highest loss that count as label noise and rank lowest, in [0, 1): about the
            share of wrong labels that you expect.
        class_balance: Keep the same share of every class, and rank terms made from features within it.
        sae_epochs: Passes over the features that train the autoencoder; default: see `dynsel.sae.fit_sae`.
        refresh: Fit the terms anew after so many epochs, where features are captured from the model in
            training; 0 = never.
        seed: Seed of all draws; None takes the run's seed.

    Raises:
        ValueError: If a number is out of range, or no term has a weight.
    """

    needs_targets = False
    value_or_loss = True

    def __init__(
        self,
        *,
        uncertainty: float | Schedule = 1.0,
        loss: float | Schedule = 0.0,
        representativeness: float | Schedule = 0.0,
        rarity: float | Schedule = 0.0,
        witness: float | Schedule = 0.0,
        neural_witness: float | Schedule = 0.0,
        boundary: float | Schedule = 0.0,
        region: float | Schedule = 0.0,
        gamma: float | Schedule = 0.1,
        noise: float = 0.0,
        epsilon: float = 0.1,
        smoothing: float = 0.5,
        clip: float = 0.0,
        class_balance: bool = False,
        sae_epochs: int | None = None,
        refresh: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.epsilon = check_epsilon(epsilon)
        if not 0 <= clip < 1:
            raise ValueError(f"`clip` must be in [0, 1), got {clip}")
        if not noise >= 0:
            raise ValueError(f"`noise` must be at least 0, got {noise}")
        if refresh < 0:
            raise ValueError(f"`refresh` must be at least 0 epochs, got {refresh}; 0 = never")
        self.gamma, self.noise, self.refresh, self.sae_epochs = as_schedule(gamma), noise, refresh, sae_epochs
        check_range("gamma", self.gamma, 0.0)
        weights = {
            "uncertainty": (uncertainty, Uncertainty(smoothing)),
            "loss": (loss, Loss(smoothing, clip)),
            "representativeness": (representativeness, Representativeness()),
            "rarity": (rarity, Rarity()),
            "witness": (witness, Witness()),
            "neural_witness": (neural_witness, NeuralWitness()),
            "boundary": (boundary, Boundary()),
            "region": (region, Region()),
        }
        self.weights: dict[str, Schedule] = {}
        self.terms: dict[str, Term] = {}
        for name, (weight, term) in weights.items():
            if weight != 0:
                self.weights[name], self.terms[name] = as_schedule(weight), term
                check_range(name, self.weights[name], 0.0)
        if not self.terms:
            raise ValueError(f"at least one of {', '.join(weights)} must have a weight above 0")
        self.needs_features = any(term.needs_features for term in self.terms.values())
        self.wants = frozenset().union(*(term.wants for term in self.terms.values()))
        follows = not {"witness", "neural_witness"}.isdisjoint(self.terms)
        self.keeps_features = self.needs_features and (refresh > 0 or follows)

    @property
    def needs_labels(self) -> bool:
        return self.class_balance or "boundary" in self.terms

    @property
    def ready(self) -> bool:
        return all(term.ready for term in self.terms.values())

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        super().bind(num_samples, labels, seed=seed)
        for term in self.terms.values():
            term.bind(num_samples)

    def fit(self, features: Any) -> None:
        """Fit the terms that are not ready; if all are, the features are fresh ones for all."""
        within = self.labels if self.class_balance else None
        material = Material(features, self.labels, within, self.generator.initial_seed(), self.sae_epochs)
        for term in [term for term in self.terms.values() if not term.ready] or self.terms.values():
            term.fit(material)

    def measure(self, logits: Tensor, targets: Tensor | None, features: Tensor | None) -> Tensor:
        """(B,) entropies of the predicted classes, in nats."""
        entropies: Tensor = torch.special.entr(logits.softmax(1)).sum(1)
        return entropies

    def observe(self, feedback: Feedback) -> None:
        super().observe(feedback)
        for term in self.terms.values():
            term.observe(feedback)

    def scores(self, progress: float) -> Tensor:
        scores = np.zeros(self.num_samples, dtype=np.float32)
        for name, term in self.terms.items():
            if weight := self.weights[name](progress):
                scores += term.values(self.usage).numpy() * weight
        if gamma := self.gamma(progress):
            scores -= usage_penalty(self.usage).numpy() * gamma
        if self.noise:
            scores += gumbel(len(scores), self.generator).float().numpy() * self.noise
        if self.wants:
            put_first(scores, np.flatnonzero(self.usage.numpy() == 0), self.generator)
        return torch.from_numpy(scores)

    def _holders(self) -> dict[str, tuple[Any, str]]:
        terms = {f"{t}.{name}": (term, name) for t, term in self.terms.items() for name in term.state_names}
        return {**super()._holders(), **terms}
