"""Hybrid: a weighted sum of terms, minus the usage penalty."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_integer, check_number
from dynsel.schedules import Constant, Schedule, check_schedule
from dynsel.selectors.checked import checked_scores
from dynsel.selectors.entropy_selector import EntropySelector
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.made_by import plain
from dynsel.selectors.ranking import check_clip, check_smoothing
from dynsel.selectors.terms import TERMS, Material, Term, term_class

__all__ = ["Hybrid"]

_ROUNDING = 1e-3  # by which a term's values may leave [0, 1]


class Hybrid(EntropySelector):
    """Takes the highest sums of several terms: uncertainty, loss, factors, characteristic function, graph.

    A share 1 - ε of the epoch are the samples of highest score; the rest is drawn from all others, so that what is easy
    isn't forgotten. Score S_i = Σ_terms weight · value_i - γ u_i / ū + Gumbel noise. Values are in [0, 1] (see
    `dynsel.selectors.terms`), u_i are the uses of sample i and ū their mean. A weight is a number or a schedule
    of progress; a term of weight 0 is not computed, and if no term needs features, neither does the selector.
    With a term that learns from training, samples that were never trained on go first, in random order. For a finish on
    full data let the keep ratio rise: `DynamicSelection(keep_ratio=Step([0.5, 1.0], [0.9]))`.

    By default uncertainty alone decides, which takes no label for granted. It is the entropy of the logits that
    `F.cross_entropy(logits, targets)` or `F.nll_loss` is given, or `F.log_softmax` by a loss written by hand; of mixed
    inputs too. Where training has none (regression), the loss stands in for it. Where labels can be trusted and classes
    are uneven, `terms={"loss": 1.0}` is better: of a rare class taken for a frequent one the model is sure.

    Terms, besides any subclass of `dynsel.selectors.terms.Term` by its class path:

    - `uncertainty`: rank of the smoothed entropy of the predicted classes;
    - `loss`: rank of the smoothed loss; `batch_loss`: of the losses of the batches that a sample was in, which any
      training tells;
    - `representativeness`, `rarity`: frequent, rare sparse-autoencoder factors;
    - `witness`: closing the gap in characteristic functions; `neural_witness`: the same at frequencies that a network
      learns anew each epoch, which takes seconds;
    - `boundary`: having neighbours of other classes in the graph of nearest neighbours; needs labels;
    - `region`: lying in a region of that graph that was trained on little;
    - `doubt`, `margin`, `trajectory`: having a label that the model doesn't contradict again and again, that was the
      model's own choice on average, losses that go the way of those of most; they keep wrong labels out of what other
      terms ask for;
    - `once`: standing for a group of duplicates.

    Args:
        terms: Weight of each term, at least 0, a number or a schedule, by its name or class path; default:
            `{"uncertainty": 1.0}`.
        gamma: Weight of the usage penalty, at least 0; a number or a schedule.
        noise: Scale of the Gumbel noise, at least 0.
        epsilon: Share of the epoch drawn at random from all but the samples of highest score, in [0, 1].
        smoothing: Share of the old average that each new entropy or loss leaves, in [0, 1).
        clip: Share of the samples of highest loss that count as label noise and rank lowest, in [0, 1): about the
            share of wrong labels that you expect.
        class_balance: Keep the same share of every class, and rank terms made from features within it.
        sae_epochs: Passes over the features that train the autoencoder, at least 1; default: see `dynsel.sae.fit_sae`.
        refresh: Fit the terms anew after so many epochs, where features are captured from the model in
            training; 0 = never.
        seed: Seed of all draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of range, a term is unknown, or none has a weight.

    Example:
        >>> selector = Hybrid(terms={"loss": 1.0}, gamma=0.0, epsilon=0.0, seed=0)
        >>> selector.bind(4)
        >>> selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
        >>> selector.select(0.5, size=2).indices.tolist()
        [1, 3]

    Reference:
        The sum is ours; its terms have their sources in `dynsel.selectors.terms`. The usage penalty is as of RRD,
        Zhou, Hua, Guo, Jia (2026), arXiv:2603.04981, in our reconstruction (see `RRD`).
    """

    fits_shards = True

    def __init__(
        self,
        *,
        terms: dict[str, float | Schedule] | None = None,
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
        self.gamma = check_schedule("gamma", gamma)
        self.noise = check_number("noise", noise, at_least=0)
        why = "it is the share taken at random"
        self.epsilon = check_number("epsilon", epsilon, at_least=0, at_most=1, why=why)
        self.sae_epochs = None if sae_epochs is None else check_integer("sae_epochs", sae_epochs, at_least=1)
        self.refresh = check_integer("refresh", refresh, at_least=0, why="it is a number of epochs, 0 = never")
        shared = {"smoothing": check_smoothing(smoothing), "clip": check_clip(clip)}
        self.weights = _weights({"uncertainty": 1.0} if terms is None else terms)
        # What is left out is the same as the default, written.
        self._arguments["terms"] = plain(self.weights)
        self.terms = {name: _make(name, shared) for name in self.weights}
        every = self.terms.values()
        self.needs_features = any(term.needs_features for term in every)
        self.wants = frozenset().union(*(term.wants for term in every))
        self.keeps_features = self.needs_features and (refresh > 0 or any(term.keeps_features for term in every))

    def _shown_arguments(self) -> dict[str, Any]:
        weights = {name: w.value if isinstance(w, Constant) else w for name, w in self.weights.items()}
        return {**super()._shown_arguments(), "terms": weights}

    @property
    def needs_labels(self) -> bool:
        """Whether `class_balance` or one of the terms needs labels."""
        return self.class_balance or any(term.needs_labels for term in self.terms.values())

    @property
    def ready(self) -> bool:
        """Whether every term that needs features has had them."""
        return all(term.ready for term in self.terms.values())

    def prepare(self) -> None:
        """Start all terms afresh."""
        for term in self.terms.values():
            term.population = self.population
            term.bind(self.num_samples)

    def fit(self, features: Any) -> None:
        """Fit the terms that are not ready; if all are, the features are fresh ones for all.

        Args:
            features: (N, d) floating-point tensor, array or memory map; row i describes sample i.
        """
        material = self._material(features)
        for term in [term for term in self.terms.values() if not term.ready] or self.terms.values():
            term.fit(material)

    def _material(self, features: Any) -> Material:
        """What the terms are made from."""
        within = self.labels if self.class_balance else None
        return Material(features, self.labels, within, self.generator.initial_seed(), self.sae_epochs)

    def learn(self, feedback: Feedback) -> None:
        """Pass on to every term what training told.

        Args:
            feedback: Any number of batches together.
        """
        for term in self.terms.values():
            term.learn(feedback)

    def scores(self, progress: float) -> Tensor:
        """Weighted sum of the terms' values, minus the usage penalty, plus noise.

        Args:
            progress: Share of training done, in [0, 1], at which weights and `gamma` are read.

        Returns:
            (N,) float32; with a term that learns from training, samples never trained on are above all others, but
            those that a term holds back (`Term.holds_back`).

        Raises:
            TypeError: If a term returns no numbers.
            ValueError: If a term's values aren't (N,) finite numbers in [0, 1], rounding aside.
        """
        scores, first = np.zeros(self.num_samples, dtype=np.float32), self.usage.numpy() == 0
        for name, term in self.terms.items():
            if weight := self.weights[name](progress):
                values = _values(term, self.usage)
                scores += values * weight
                if term.holds_back:
                    first &= values > 0
        if gamma := self.gamma(progress):
            scores -= self.population.penalty(self.usage).numpy() * gamma
        if self.noise:
            scores += self.population.gumbel(len(scores), self.generator).numpy() * self.noise
        if self.wants:
            self.population.put_first(scores, np.flatnonzero(first), self.generator)
        return torch.from_numpy(scores)

    def _state_parts(self) -> Mapping[str, Term]:
        return self.terms


def _weights(terms: dict[str, float | Schedule]) -> dict[str, Schedule]:
    """The schedules of the terms that have a weight."""
    if not isinstance(terms, Mapping):
        raise TypeError(f'`terms` must be weights by name, such as {{"uncertainty": 1.0}}, got {terms!r}')
    for name in terms:
        term_class(name)  # an unknown one, before anything is said of its weight
    given = {name: check_schedule(f"terms[{name!r}]", weight) for name, weight in terms.items()}
    weights = {name: schedule for name, schedule in given.items() if terms[name] != 0}
    if not weights:
        raise ValueError(f"`terms` must have one with a weight above 0, got {terms!r}; there are {', '.join(TERMS)}")
    return weights


def _values(term: Term, usage: Tensor) -> np.ndarray[Any, Any]:
    """(N,) float32 values of a term, checked to be in [0, 1] but for rounding."""
    name = f"{type(term).__name__}.values"
    values = checked_scores(name, term.values(usage), len(usage)).float().numpy()
    low, high = float(values.min()), float(values.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # nor is NaN
        raise ValueError(f"`{name}` must return finite numbers in [0, 1], got {low:g} .. {high:g}; ranks are such")
    return values


def _make(name: str, shared: dict[str, float]) -> Term:
    """A term with what all built-in ones share, as far as it takes it; one's own has its own defaults."""
    cls = term_class(name)
    if name not in TERMS:
        parameters = inspect.signature(cls).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        required = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
        if required:
            raise TypeError(
                f"`terms`: {name} is made without arguments, so that it can stand in a YAML file by its class path; "
                f"give {', '.join(map(repr, required))} a default"
            )
        return cls()
    return cls(**{key: value for key, value in shared.items() if key in inspect.signature(cls).parameters})
