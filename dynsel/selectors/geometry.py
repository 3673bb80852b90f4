"""Geometry: where samples lie and what was trained on, without a loss or a logit."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

from torch import Tensor

from dynsel.sae import TopKSAE, encode, fit_sae, train_again
from dynsel.schedules import Constant, Schedule, check_schedule
from dynsel.selectors.factors import factor_scores
from dynsel.selectors.hybrid import Hybrid
from dynsel.selectors.terms import Material, Witness

__all__ = ["Geometry"]

_TERMS = ("rarity", "witness", "boundary", "region")
_FACTORS, _ACTIVE = 256, 16  # of the autoencoder, at most
_NEIGHBOURS = 10
_DIM = 16  # of the graph's embedding
_FREQUENCIES = 256
_EXACT = 2_000  # up to so many samples an exact search takes no longer than a better guess


class Geometry(Hybrid):
    """Rare factors, gaps in the characteristic function, class boundaries and neglected regions, minus usage.

    Score S_i = rarity + witness + boundary + region, each in [0, 1] times its weight, - γ u_i / ū, and the highest are
    taken; the terms are those of `Hybrid`. All of them follow from features, labels and uses: nothing has to be heard
    from training, so it works with any loss, of any kind of output. The boundary counts where labels are at hand; a
    warning says where it has to be left out.

    Features that are captured from the model in training are refreshed every epoch, at a price that allows it: the
    autoencoder goes on from its last weights for 24 steps (`dynsel.sae.train_again`), neighbours are looked for among
    the last ones, theirs and in random cells (`dynsel.graph.improve_neighbours`), eigenvectors start from the last ones
    (`dynsel.graph.spectral_embedding`). All these are part of the state. The first fit, and that of fixed features,
    takes longer: there is nothing yet to start from.

    The weights are plain equal ones, 1 for each term and for γ. A fifth at random was chosen in two rounds of
    few seeds, on handwritten digits and on CIFAR-10 (`recipes/cifar10/README.md`): without it, and with fixed
    features, it ended 2 points below random subsets on the digits. It was not shown that this selector is better than
    random subsets.

    Args:
        rarity: Weight of rare sparse-autoencoder factors, at least 0; a number or a schedule, as all weights.
        witness: Weight of what closes the gap in characteristic functions.
        boundary: Weight of neighbours of other classes.
        region: Weight of regions of the neighbour graph that were trained on little.
        gamma: Weight of the usage penalty.
        noise: Scale of Gumbel noise added to the scores, at least 0.
        epsilon: Share of the epoch drawn at random from all but the samples of highest score, in [0, 1].
        class_balance: Keep the same share of every class, and rank terms within it.
        sae_epochs: Passes over the features of the autoencoder's first training, at least 1.
        refresh: Refresh everything after so many epochs, where features are captured from the model in
            training; 0 = never.
        seed: Seed of all draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of range, or no term has a weight; from `bind`, if the boundary is the only one
            and there are no labels.

    Reference:
        The sum is ours; its terms have their sources in `dynsel.selectors.terms`.
    """

    sae_encoder: Tensor | None
    neighbours: Tensor | None

    def __init__(
        self,
        *,
        rarity: float | Schedule = 1.0,
        witness: float | Schedule = 1.0,
        boundary: float | Schedule = 1.0,
        region: float | Schedule = 1.0,
        gamma: float | Schedule = 1.0,
        noise: float = 0.0,
        epsilon: float = 0.2,
        class_balance: bool = False,
        sae_epochs: int = 4,
        refresh: int = 1,
        seed: int | None = None,
    ) -> None:
        terms = dict(zip(_TERMS, (rarity, witness, boundary, region), strict=True))
        for name, weight in terms.items():
            check_schedule(name, weight)
        if all(weight == 0 for weight in terms.values()):
            raise ValueError(f"Geometry must have a weight above 0 among {', '.join(terms)}; all are 0")
        super().__init__(
            terms=terms,
            gamma=gamma,
            noise=noise,
            epsilon=epsilon,
            class_balance=class_balance,
            sae_epochs=sae_epochs,
            refresh=refresh,
            seed=seed,
        )
        if "witness" in self.terms:
            self.terms["witness"] = Witness(_FREQUENCIES)
        self._every_term = self.terms
        for name in _WEIGHTS:
            self.add_state(f"sae_{name}", None)
        self.add_state("neighbours", None)

    @property
    def needs_labels(self) -> bool:
        """Whether it can't do without labels: with `class_balance` only, for else the boundary is left out."""
        return self.class_balance

    def _shown_arguments(self) -> dict[str, Any]:
        weights = {name: w.value if isinstance(w, Constant) else w for name, w in self.weights.items()}
        shown = {name: value for name, value in super()._shown_arguments().items() if name != "terms"}
        return {name: weights.get(name, 0.0) for name in _TERMS if weights.get(name, 0.0) != 1.0} | shown

    def prepare(self) -> None:
        """Leave the boundary out where there are no labels, with a warning, and start the other terms afresh.

        Raises:
            ValueError: If the boundary is the only term with a weight and there are no labels.
        """
        terms = self._every_term
        self.terms = {name: term for name, term in terms.items() if self.labels is not None or not term.needs_labels}
        if not self.terms:
            raise ValueError("Geometry of `boundary` alone needs labels; pass `labels=`, or give other terms a weight")
        if len(self.terms) < len(terms):
            warnings.warn(
                "Geometry goes without `boundary`, for there are no class labels; pass `labels=`, or boundary=0 if "
                "that is as it should be",
                stacklevel=3,
            )
        super().prepare()

    def _material(self, features: Any) -> Material:
        return _Refreshed(features, self)

    def _autoencoder(self, features: Any, seed: int) -> TopKSAE:
        """Trained on, or for the first time; its weights are kept in the state."""
        if self.sae_encoder is None:
            count, dim = features.shape
            factors = max(2, min(4 * dim, _FACTORS, count))
            k = min(_ACTIVE, factors // 2)
            sae = fit_sae(features, num_factors=factors, k=k, epochs=self.sae_epochs, seed=seed).sae
        else:
            factors, dim = self.sae_encoder.shape
            sae = TopKSAE(dim, factors, min(_ACTIVE, factors // 2))
            sae.load_state_dict({name: getattr(self, f"sae_{name}") for name in _WEIGHTS})
            sae.to(features.device if isinstance(features, Tensor) else "cpu")
            train_again(sae, features, seed=seed)
        for name, weight in sae.state_dict().items():
            setattr(self, f"sae_{name}", weight.detach().cpu().clone())
        return sae


_WEIGHTS = tuple(TopKSAE(1, 2, 1).state_dict())


class _Refreshed(Material):
    """What the terms are made from, each thing from what it was before."""

    def __init__(self, features: Any, selector: Geometry) -> None:
        within = selector.labels if selector.class_balance else None
        # Other draws each epoch, and the same ones after a restart.
        seed = (selector.generator.initial_seed() + int(selector.usage.sum())) % 2**63
        super().__init__(features, selector.labels, within, seed)
        self.selector = selector

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor]:
        sae = self.selector._autoencoder(self.features, self.seed)
        return factor_scores(encode(sae, self.features), self.labels)

    @cached_property
    def graph(self) -> Any:
        from dynsel.graph import connect, fuzzy_graph, improve_neighbours, nearest_neighbours

        k, last = min(_NEIGHBOURS, len(self.features) - 1), self.selector.neighbours
        if last is None or len(self.features) <= _EXACT:
            distances, indices = nearest_neighbours(self.features, k)
        else:
            distances, indices = improve_neighbours(self.features, last.long(), self.seed)
        self.selector.neighbours = indices.int().cpu()
        return connect(fuzzy_graph(distances, indices, [k]), self.features)[0]

    @cached_property
    def embedding(self) -> Tensor:
        from dynsel.graph import spectral_embedding

        last = getattr(self.selector.terms["region"], "embedding", None)
        return spectral_embedding(self.graph, min(_DIM, len(self.features) - 2), self.seed, start=last)
