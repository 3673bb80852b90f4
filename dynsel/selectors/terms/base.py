"""The summands of a score: one small class a term, each of them a number in [0, 1] for every sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dynsel.cfd import characteristic_sums, witness
from dynsel.cfd.neural import fit_frequencies
from dynsel.sae import encode, fit_sae
from dynsel.selectors.base import Feedback
from dynsel.selectors.loss import check_smoothing, loss_rank, update_average
from dynsel.selectors.rrd import factor_scores, rank_within_class
from dynsel.usage import usage_penalty

__all__ = [
    "Boundary",
    "Loss",
    "Material",
    "NeuralWitness",
    "Rarity",
    "Region",
    "Representativeness",
    "Term",
    "Uncertainty",
    "Witness",
]


class Material:
    """What the terms are made from: each thing made once, and only if a term asks for it.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        labels: (N,) class codes, or None.
        within: Class codes within which values are ranked, or None to rank all samples together.
        seed: Of autoencoder, frequencies and eigenvectors.
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


class Term(ABC):
    """One summand. Life: `bind`; `fit` if `needs_features`; then `values` and `observe` in turn.

    Attributes:
        needs_features: Whether `fit` must be called.
        wants: Parts of `Feedback` that `observe` makes use of.
        state_names: Attributes, tensors or None, that must survive a restart.
    """

    needs_features: ClassVar[bool] = False
    wants: ClassVar[frozenset[str]] = frozenset()
    state_names: ClassVar[tuple[str, ...]] = ()

    @property
    def ready(self) -> bool:
        """Whether `values` can be called."""
        return True

    def bind(self, num_samples: int) -> None:  # noqa: B027 - some terms have no state
        """Start afresh on N samples."""

    def fit(self, material: Material) -> None:  # noqa: B027 - some terms need no features
        """Take in features; called again when they were refreshed, and after a restart if not `ready`."""

    def observe(self, feedback: Feedback) -> None:  # noqa: B027 - some terms don't learn from training
        """Take in what was trained on."""

    @abstractmethod
    def values(self, usage: Tensor) -> Tensor:
        """(N,) float32 in [0, 1], higher = rather take it.

        Args:
            usage: (N,) int32 uses so far.
        """


class _Average(Term):
    """Rank of what training tells of a sample, smoothed over its uses; samples never told of rank highest.

    Args:
        smoothing: Share of the old average that each new number leaves, in [0, 1).
        clip: Share of the samples, those of the highest averages, that rank lowest instead, in [0, 1): of losses, what
            counts as label noise.
    """

    state_names = ("average",)

    def __init__(self, smoothing: float, clip: float = 0.0) -> None:
        self.smoothing, self.clip = check_smoothing(smoothing), clip
        self.average = torch.zeros(0)

    def bind(self, num_samples: int) -> None:
        self.average = torch.full((num_samples,), torch.nan)

    def observe(self, feedback: Feedback) -> None:
        (part,) = self.wants
        if (told := getattr(feedback, part)) is not None:
            update_average(self.average, feedback.indices, told, self.smoothing)

    def values(self, usage: Tensor) -> Tensor:
        return loss_rank(self.average, self.clip)


class Loss(_Average):
    """Rank of a smoothed loss: what training still finds hard (see `LossRank`)."""

    wants = frozenset({"per_sample_loss"})


class Uncertainty(_Average):
    """Rank of the smoothed entropy of the predicted classes: what training can't tell yet, whatever its label.

    The model's own expectation of the loss. A loss looks at the label as well: where the model is sure, what it keeps
    are the labels that contradict the model, wrong ones among them.
    """

    wants = frozenset({"value"})


class _Fixed(Term):
    """A term that follows from the features alone."""

    needs_features = True
    state_names = ("ranks",)

    def __init__(self) -> None:
        self.ranks: Tensor | None = None

    @property
    def ready(self) -> bool:
        return self.ranks is not None

    def bind(self, num_samples: int) -> None:
        self.ranks = None

    def fit(self, material: Material) -> None:
        self.ranks = rank_within_class(self._raw(material), material.within)

    @abstractmethod
    def _raw(self, material: Material) -> Tensor:
        """(N,) values before ranking."""

    def values(self, usage: Tensor) -> Tensor:
        if self.ranks is None:
            raise RuntimeError(f"{type(self).__name__} has no values before `fit`")
        return self.ranks


class Representativeness(_Fixed):
    """How frequent a sample's sparse-autoencoder factors are (see `RRD`)."""

    def _raw(self, material: Material) -> Tensor:
        return material.factors[0]


class Rarity(_Fixed):
    """How rare a sample's sparse-autoencoder factors are (see `RRD`)."""

    def _raw(self, material: Material) -> Tensor:
        return material.factors[1]


class Boundary(_Fixed):
    """Share of the weight of a sample's neighbours in the graph that are of other classes."""

    def _raw(self, material: Material) -> Tensor:
        if material.labels is None:
            raise ValueError("the term `boundary` needs class labels; pass `labels=`, or leave its weight at 0")
        return local_variation(material.graph, torch.nn.functional.one_hot(material.labels.long())) / 2


class Region(Term):
    """Prefers the regions of the neighbour graph that were trained on least.

    The usage, as a signal on the graph, is projected on the graph's smoothest eigenvectors; the term is the rank
    of minus that projection.
    """

    needs_features = True
    state_names = ("embedding",)

    def __init__(self) -> None:
        self.embedding: Tensor | None = None

    @property
    def ready(self) -> bool:
        return self.embedding is not None

    def bind(self, num_samples: int) -> None:
        self.embedding = None

    def fit(self, material: Material) -> None:
        self.embedding = material.embedding.float()

    def values(self, usage: Tensor) -> Tensor:
        if self.embedding is None:
            raise RuntimeError("Region has no values before `fit`")
        excess = usage_penalty(usage)
        smooth = self.embedding @ (self.embedding.T @ (excess - excess.mean()))
        return rank_within_class(-smooth)


class Witness(Term):
    """How much a sample brings the characteristic function of what was trained on nearer to that of the whole.

    Rank of `dynsel.cfd.witness` for the gap between the whole set and the samples weighted by their uses. The sums
    are made anew each epoch: running ones would depend on how often training was interrupted.

    Args:
        num_frequencies: Number F of Gaussian frequencies; their scale is 1 / median distance of the features.
    """

    needs_features = True
    state_names = ("frequencies", "target")

    def __init__(self, num_frequencies: int = 1024) -> None:
        self.num_frequencies = num_frequencies
        self.frequencies: Tensor | None = None
        self.target: Tensor | None = None
        self.features: Any = None

    @property
    def ready(self) -> bool:
        # The features are no part of the state, they may be larger than memory.
        return self.features is not None

    def bind(self, num_samples: int) -> None:
        self.frequencies = self.target = self.features = None

    def fit(self, material: Material) -> None:
        resumed = self.features is None and self.target is not None
        self.features = material.features
        if resumed:
            return
        from dynsel.cfd import gaussian_frequencies, median_scale

        if self.frequencies is None:
            generator = torch.Generator().manual_seed(material.seed)
            scale = median_scale(self.features, generator)
            self.frequencies = gaussian_frequencies(self.num_frequencies, self.features.shape[1], scale, generator)
        self.target = characteristic_sums(self.features, self.frequencies).value()

    def values(self, usage: Tensor) -> Tensor:
        if self.frequencies is None or self.target is None:
            raise RuntimeError("Witness has no values before `fit`")
        if not bool(usage.any()):
            return torch.zeros(len(usage))
        now = characteristic_sums(self.features, self.frequencies, usage.float()).value()
        return rank_within_class(witness(self.features, self.frequencies, self.target - now).cpu())


class NeuralWitness(Term):
    """As `Witness`, at frequencies that a network chooses anew each epoch to show the gap (`dynsel.cfd.neural`).

    They follow from the features, the uses and the seed alone: there is no state to save.

    Args:
        num_frequencies: Number F of frequencies.
        steps: Steps of the network's training.
    """

    needs_features = True

    def __init__(self, num_frequencies: int = 1024, steps: int = 50) -> None:
        self.num_frequencies, self.steps = num_frequencies, steps
        self.features: Any = None
        self.seed = 0

    @property
    def ready(self) -> bool:
        return self.features is not None

    def bind(self, num_samples: int) -> None:
        self.features = None

    def fit(self, material: Material) -> None:
        self.features, self.seed = material.features, material.seed

    def values(self, usage: Tensor) -> Tensor:
        if self.features is None:
            raise RuntimeError("NeuralWitness has no values before `fit`")
        if not bool(usage.any()):
            return torch.zeros(len(usage))
        # Another draw each epoch, and the same one after a restart.
        seed = (self.seed + int(usage.sum())) % 2**63
        t = fit_frequencies(self.features, usage, num_frequencies=self.num_frequencies, steps=self.steps, seed=seed)
        now = characteristic_sums(self.features, t, usage.float()).value()
        gap = characteristic_sums(self.features, t).value() - now
        return rank_within_class(witness(self.features, t, gap).cpu())


def local_variation(graph: Any, signal: Tensor) -> Tensor:
    """Mean squared difference of a signal to the neighbours, weighted by the edges; 0 where there are none.

    Args:
        graph: (N, N) scipy sparse, symmetric, not negative.
        signal: (N, C).

    Returns:
        (N,) float32: Σ_j w_ij |s_i - s_j|² / Σ_j w_ij.
    """
    s = signal.double().numpy()
    degree = np.asarray(graph.sum(1)).ravel()
    square = (s * s).sum(1)
    # |s_i - s_j|² written out, so that no (edges, C) array is made.
    total = degree * square + graph @ square - 2 * (s * (graph @ s)).sum(1)
    return torch.from_numpy(np.divide(total, degree, out=np.zeros_like(total), where=degree > 0)).float()
