"""The contract of a term, one summand of `Hybrid`, and what terms are made from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from dynsel.sae import encode, fit_sae
from dynsel.selectors.factors import factor_scores
from dynsel.selectors.feedback import Feedback, check_wants
from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.state import Stateful

__all__ = ["FixedTerm", "Material", "Term"]


class Material:
    """What the terms are made from: each thing made once, and only if a term asks for it.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        labels: (N,) class codes, or None.
        within: Class codes within which values are ranked, or None to rank all samples together.
        seed: Seed of autoencoder, frequencies and eigenvectors.
        sae_epochs: Passes over the features that train the autoencoder; None: see `fit_sae`.
    """

    def __init__(
        self,
        features: Any,
        labels: Tensor | None,
        within: Tensor | None,
        seed: int,
        sae_epochs: int | None = None,
    ) -> None:
        self.features, self.labels, self.within = features, labels, within
        self.seed, self.sae_epochs = seed, sae_epochs

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Representativeness and rarity, (N,) each, by the factors' frequencies in the class if there are labels."""
        sae = fit_sae(self.features, epochs=self.sae_epochs, seed=self.seed).sae
        return factor_scores(encode(sae, self.features), self.labels)

    @cached_property
    def graph(self) -> Any:
        """(N, N) sparse fuzzy neighbour graph, symmetric."""
        from dynsel.graph import connect, fuzzy_graph, nearest_neighbours

        scales = [k for k in (5, 15, 30) if k < len(self.features)] or [len(self.features) - 1]
        graph = fuzzy_graph(*nearest_neighbours(self.features, max(scales)), scales)
        return connect(graph, self.features)[0]

    @cached_property
    def embedding(self) -> Tensor:
        """(N, 16 at most) smoothest eigenvectors of the graph, each of unit variance."""
        from dynsel.graph import spectral_embedding

        return spectral_embedding(self.graph, min(16, len(self.features) - 2), self.seed)


class Term(Stateful, ABC):
    """One summand of `Hybrid`. Life: `bind`; `fit` if `needs_features`; then `values` and `learn` in turn.

    What must survive a restart is declared by `add_state`, as in a selector. A term of your own is used by its class
    path, `Hybrid(terms={"uncertainty": 1.0, "my_package.MyTerm": 0.3})`, and constructed without arguments.

    Attributes:
        needs_features: Whether `fit` must be called.
        needs_labels: Whether it can't do without class labels.
        keeps_features: Whether the features themselves are needed after `fit`.
        holds_back: Whether a value of 0 keeps a sample that was never used from going before all others, as such do
            beside a term that learns from training.
        wants: Parts of `Feedback` that `learn` makes use of; `value` is the entropy of the predicted classes.
    """

    needs_features = False
    needs_labels: ClassVar[bool] = False
    keeps_features: ClassVar[bool] = False
    holds_back: ClassVar[bool] = False
    wants: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_wants(cls)

    def bind(self, num_samples: int) -> None:
        """Start afresh: everything declared is made anew, then `prepare` is called.

        Args:
            num_samples: Number of samples, N.
        """
        self._state_begin(num_samples)
        self.prepare()

    def prepare(self) -> None:
        """Called at the end of `bind`: everything declared is fresh."""

    def fit(self, material: Material) -> None:
        """Take in features; called again when they were refreshed, and after a restart if not `ready`.

        Args:
            material: Features, labels and what several terms make of them.
        """

    def learn(self, feedback: Feedback) -> None:
        """Take in what was trained on. What was not told is None or NaN (see `Selector.learn`).

        Args:
            feedback: Any number of batches together.
        """

    @abstractmethod
    def values(self, usage: Tensor) -> Tensor:
        """What this term adds for each sample, before its weight.

        Args:
            usage: (N,) int32 uses so far.

        Returns:
            (N,) float32 in [0, 1], higher = rather take it.
        """


class FixedTerm(Term):
    """A term that follows from the features alone: the ranks of `raw`.

    Ranking is ours: it brings all terms to one scale, so that they can be summed.

    Attributes:
        ranks: (N,) float32 in [0, 1] once fitted; None before.
    """

    needs_features = True
    ranks: Tensor | None

    def __init__(self) -> None:
        self.add_state("ranks", None)

    def fit(self, material: Material) -> None:
        """Rank what `raw` gives, within class if `material.within` has classes.

        Args:
            material: Features, labels and what several terms make of them.
        """
        self.ranks = rank_within_class(self.raw(material), material.within)

    @abstractmethod
    def raw(self, material: Material) -> Tensor:
        """The values before ranking.

        Args:
            material: Features, labels and what several terms make of them.

        Returns:
            (N,) float of any scale, higher = rather take it.
        """

    def values(self, usage: Tensor) -> Tensor:
        """The ranks of the samples, whatever was trained on.

        Args:
            usage: (N,) int32 uses so far; not used.

        Returns:
            (N,) float32 in [0, 1].

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.ranks is None:
            raise RuntimeError(f"{type(self).__name__} has no values before `fit`")
        return self.ranks
