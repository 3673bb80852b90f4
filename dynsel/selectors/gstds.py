"""GSTDS: each batch of candidates is a graph, and its Fiedler vector says which samples stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dynsel._lib.checks import check_choice
from dynsel._lib.matrices import Matrix, take
from dynsel.graph import cosine_graphs, fiedler_vectors
from dynsel.selection import top_k
from dynsel.selectors.batch import BatchSelector
from dynsel.selectors.checked import check_sample_features
from dynsel.selectors.ranking import rotation_scores

__all__ = ["GSTDS", "Rule", "keep_by_fiedler"]

Rule = Literal["extremes", "magnitude", "boundary", "top", "spread"]

# float32 vectors have noise of 1e-7; entries nearer than this count as equal and go by position.
_RESOLUTION = 1e-6
_BLOCK_VALUES = 2**21  # graphs of this many edges at once: 16 MB in float64


class GSTDS(BatchSelector):
    """Keeps the samples of a batch that the Fiedler vector of its similarity graph singles out.

    The graph of a batch links its candidates by the cosine similarity of their features, negative ones cut to 0; its
    Fiedler vector is the eigenvector of the second smallest eigenvalue of the Laplacian. All batches of an epoch are
    solved at once. The paper doesn't say which end stays; there are five rules:

    - "extremes": half from each end, both sides of the graph's best cut;
    - "magnitude": the largest absolute values. On a graph without clear clusters these are outliers;
    - "boundary": the smallest absolute values, where the cut runs;
    - "top": the largest values, with the sign at which the entry of largest magnitude is positive;
    - "spread": every 1/ρ-th along the sorted vector, hence a share of every part of the graph. With features that tell
      classes apart the others take some classes whole and drop others (`recipes/cifar10/class_shares.py`).

    Equal values go by their place in the batch. So do the samples of a batch of identical features, whose graph has no
    structure: what stays is then a matter of the epoch's order, that is of chance. A graph that falls apart is
    cut between its parts. Until features are there (captured in training they need one pass over the data) the
    candidates used least stay.

    The keep ratio is the paper's filter schedule: `Linear(1.0, 0.25, finish=0.2)` is a warm-up from full data.

    Args:
        rule: Which part of the Fiedler vector stays.
        shrink: Take batches of B candidates instead of B / ρ and train on ρ B, the paper's form.
        seed: Seed of the draws before features are there; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        GSTDS (2025), arXiv:2507.04269; SALN (2024), arXiv:2412.17069. Rules, super-batch and schedule are ours where
        they say nothing.

    Example:
        >>> selector = GSTDS(rule="extremes")
        >>> selector.bind(4)
        >>> selector.fit(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]))
        >>> selector.select_batch(torch.arange(4), count=2, progress=0.0).tolist()
        [0, 3]
    """

    needs_features = True
    keeps_features = True

    def __init__(self, *, rule: Rule = "extremes", shrink: bool = False, seed: int | None = None) -> None:
        super().__init__(shrink=shrink, seed=seed)
        check_choice("rule", rule, get_args(Rule))
        self.rule: Rule = rule
        self._features: Matrix | None = None

    @property
    def ready(self) -> bool:
        """Whether features are at hand; after a restart they must be given again."""
        return self._features is not None

    def prepare(self) -> None:
        """Forget the features."""
        self._features = None

    def fit(self, features: Any) -> None:
        """Take the features as they are: no copy, so that those captured in training are always the latest.

        Args:
            features: (N, d) floating point.

        Raises:
            TypeError: If it isn't floating point.
            ValueError: If it isn't one row per sample, all finite.
        """
        check_sample_features(features, self.num_samples)
        self._features = features

    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        """What the rule takes of one batch of candidates.

        Args:
            candidates: (c,) int64 positions in the data set.
            count: How many stay, 1 .. c.
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (count,) int64 positions within the candidates, ascending.

        Raises:
            ValueError: If `count` is out of range.
        """
        return self.select_batches([candidates], [count], progress)[0]

    def select_batches(self, candidates: Sequence[Tensor], counts: Sequence[int], progress: float) -> list[Tensor]:
        """What the rule takes of each batch; those of equal sizes are solved together, in bounded memory.

        Args:
            candidates: For each batch (c,) int64 positions in the data set.
            counts: How many of each stay, 1 .. c.
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            For each batch (count,) int64 positions within its candidates, ascending; before there are features those of
            the least used.

        Raises:
            ValueError: If a count is out of range.
        """
        kept: list[Tensor] = [torch.arange(len(rows)) for rows in candidates]
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, (rows, count) in enumerate(zip(candidates, counts, strict=True)):
            if not 1 <= count <= len(rows):
                raise ValueError(f"`count` must be between 1 and the number of candidates, {len(rows)}, got {count}")
            if count == len(rows):
                continue
            if self._features is None:
                kept[i] = top_k(rotation_scores(self.usage[rows], self.generator), count)
            else:
                alike[len(rows), count].append(i)
        for (size, count), places in alike.items():
            # As many graphs at once as fit into bounded memory.
            step = max(1, _BLOCK_VALUES // size**2)
            for start in range(0, len(places), step):
                part = places[start : start + step]
                vectors = self._vectors(torch.stack([candidates[i] for i in part]))
                for i, rows in zip(part, keep_by_fiedler(vectors, count, self.rule), strict=True):
                    kept[i] = rows
        return kept

    def _vectors(self, candidates: Tensor) -> Tensor:
        assert self._features is not None
        features = take(self._features, candidates.flatten())
        return fiedler_vectors(cosine_graphs(features.view(*candidates.shape, -1))).cpu()


def keep_by_fiedler(vectors: Tensor, count: int, rule: Rule) -> Tensor:
    """The positions that a rule takes of each Fiedler vector.

    Args:
        vectors: (G, c) of unit length, with a canonical sign.
        count: How many of each, 1 .. c.
        rule: As of `GSTDS`; "extremes" takes the odd one from the upper end.

    Returns:
        (G, count) int64, ascending in each row.

    Example:
        >>> v = torch.tensor([[0.7, -0.5, 0.1, -0.1, -0.5]])
        >>> {rule: keep_by_fiedler(v, 2, rule).tolist()[0] for rule in get_args(Rule)}
        {'extremes': [0, 1], 'magnitude': [0, 1], 'boundary': [2, 3], 'top': [0, 2], 'spread': [1, 2]}
    """
    values = (vectors.double() / _RESOLUTION).round()
    if rule in ("magnitude", "boundary"):
        values = values.abs()
    order = values.argsort(dim=1, stable=True, descending=rule != "boundary")
    if rule == "extremes":
        upper, lower = order[:, : (count + 1) // 2], values.argsort(dim=1, stable=True)
        # Of equal values both ends would take the same position: the lower end takes what the upper left.
        taken = torch.zeros_like(values, dtype=torch.bool).scatter_(1, upper, True)
        free = lower[~taken.gather(1, lower)].view(len(lower), -1)
        chosen = torch.cat([upper, free[:, : count // 2]], dim=1)
    elif rule == "spread":
        # The middles of `count` equal parts of the order.
        chosen = order[:, (2 * torch.arange(count) + 1) * order.shape[1] // (2 * count)]
    else:
        chosen = order[:, :count]
    return chosen.sort(dim=1).values
