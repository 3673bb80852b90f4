"""UGIES: unsure samples that aren't much alike, by a greedy clique on a weighted graph."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel._lib.checks import check_integer, check_number
from dynsel._lib.groups import groups
from dynsel._lib.matrices import Matrix, take
from dynsel.selectors.checked import check_sample_features
from dynsel.selectors.entropy_selector import EntropySelector
from dynsel.selectors.feedback import Feedback
from dynsel.selectors.ranking import update_average

__all__ = ["UGIES"]

_ITERATIONS = 15  # of k-means, as published for CIFAR
_LARGEST = 4  # clusters of more than so many times the usual size are cut: each costs the square of its size
_BY_PARTS = 20_000  # from so many samples on k-means goes by small batches
_BLOCK_VALUES = 2**22


class UGIES(EntropySelector):
    """Takes what the model is unsure of and what is not like that which was taken already.

    Samples are nodes of weight α H(p_i), the entropy of the predicted classes, and edges of a cluster have the weight
    a_ij = sigmoid(1 - cos(x_i, x_j)) - 1, between -0.5 of equal features and -0.12 of opposite ones. The heaviest
    clique of a given size is looked for greedily: x* = arg max α H(p_i) + Σ_{j taken} a_ij.

    Published: the weights and the greedy rule (equations 2 to 8); edges only within clusters of about 50, which k-means
    finds within each class, or in all samples where there are no labels; α = 1 for CIFAR-100 and 0.2 for ImageNet. The
    authors' code does something else than the paper: it draws by the entropy minus the mean distance to the cluster,
    weights what it drew, and ends on all samples. This is the paper's rule.

    Ours, where the paper is silent or wasn't at hand: the entropy is that of the last use; a sample that training
    never told of counts as the most unsure; k-means is on features of length 1; a cluster of more than four times
    `cluster_size` is cut. As the edges of a cluster add up, every cluster gives about as many samples, small ones all.

    The score of a sample is its gain when the greedy rule takes it. Gains only fall, so the highest scores are the
    greedy choice, for every size, and within each class with `class_balance`.

    Args:
        alpha: Weight of the entropy, α, at least 0.
        cluster_size: Mean number of samples in a cluster, at least 1.
        class_balance: Keep the same share of every class.
        refresh: Make the graph anew after so many epochs, where features are captured from the model in
            training; 0 = never.
        seed: Seed of all draws; None takes the run's seed.

    Attributes:
        average: (N,) float32, each sample's last entropy in nats; NaN = none known.
        members: (N,) int64, positions of the samples, those of a cluster together; None before `fit`.
        sizes: (K,) int64, number of samples in each cluster, in that order; None before `fit`.
        edges: (Σ sizes²,) float16, each cluster's weights a_ij row by row; None before `fit`.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Wu et al. (2026), Selecting Samples on Graphs, ICML, arXiv:2606.12913. From notes of the paper and its code.

    Example:
        >>> import torch
        >>> from dynsel.selectors import Feedback
        >>> selector = UGIES(seed=0)
        >>> selector.bind(4)
        >>> selector.fit(torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [-1.0, 0.0]]))
        >>> selector.observe(Feedback(torch.arange(4), value=torch.tensor([0.7, 0.6, 0.5, 0.1])))
        >>> selector.select(0.5, size=2).indices.tolist()  # 1 is too much like 0
        [0, 2]
    """

    needs_features = True
    keeps_features = True
    wants = frozenset({"value"})
    average: Tensor
    members: Tensor | None
    sizes: Tensor | None
    edges: Tensor | None

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        cluster_size: int = 50,
        class_balance: bool = False,
        refresh: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.alpha = check_number("alpha", alpha, at_least=0, why="0 looks at the features only")
        self.cluster_size = check_integer("cluster_size", cluster_size, at_least=1)
        self.refresh = check_integer("refresh", refresh, at_least=0, why="it is a number of epochs, 0 = never")
        self.add_state("average", math.nan)
        self.add_state("members", None)
        self.add_state("sizes", None)
        self.add_state("edges", None)

    def learn(self, feedback: Feedback) -> None:
        """Keep the last entropies; those that aren't finite are passed over.

        Args:
            feedback: Any number of batches together; (B,) entropies, or losses in their place, in `value`.
        """
        if feedback.value is not None:
            update_average(self.average, feedback.indices, feedback.value, smoothing=0.0)

    def fit(self, features: Any) -> None:
        """Find the clusters of each class and the weights of their edges.

        Args:
            features: (N, d) floating point; a class's rows must fit in memory as float32.

        Raises:
            ValueError: If it isn't one row per sample, all finite.
        """
        check_sample_features(features, self.num_samples)
        # Other draws each time, and the same ones after a restart.
        seed = (self.generator.initial_seed() + int(self.usage.sum())) % 2**32
        clusters = [(members, edge_weights(rows).flatten().half()) for members, rows in self._clusters(features, seed)]
        self.members = torch.cat([members for members, _ in clusters])
        self.sizes = torch.tensor([len(members) for members, _ in clusters])
        self.edges = torch.cat([edges for _, edges in clusters])

    def _clusters(self, features: Matrix, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(m,) positions and (m, d) float32 rows of length 1 of each cluster."""
        for members in groups(torch.zeros(self.num_samples).long() if self.labels is None else self.labels):
            rows = F.normalize(take(features, members).cpu())
            for group in groups(nearest_means(rows, round(len(rows) / self.cluster_size), seed)):
                for part in torch.split(group, _LARGEST * self.cluster_size):
                    if len(part):
                        yield members[part], rows[part]

    def scores(self, progress: float) -> Tensor:
        """Each sample's gain when the greedy rule takes it.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float32.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.members is None or self.sizes is None or self.edges is None:
            raise RuntimeError("UGIES has no scores before `fit`")
        known = self.average[~self.average.isnan()]
        unsure = self.average.nan_to_num(nan=float(known.max()) if len(known) else 0.0)
        return greedy_gains(self.alpha * unsure, self.members, self.sizes, self.edges)


def nearest_means(rows: Tensor, count: int, seed: int) -> Tensor:
    """Number of the cluster of each row, by k-means.

    Args:
        rows: (n, d) float32 on the CPU.
        count: Number of clusters; below 1 it is one. Of fewer different rows there are fewer.
        seed: Seed of the rows to begin with, below 2³².

    Returns:
        (n,) int64.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if count <= 1:
        return torch.zeros(len(rows), dtype=torch.int64)
    kind = KMeans if len(rows) < _BY_PARTS else MiniBatchKMeans
    means = kind(count, init="random", n_init=1, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told of equal rows
        return torch.from_numpy(means.fit_predict(rows.numpy())).long()


def edge_weights(rows: Tensor) -> Tensor:
    """a_ij = sigmoid(1 - cos(x_i, x_j)) - 1.

    Args:
        rows: (m, d) float32 of length 1, or 0.

    Returns:
        (m, m) float32 in [-0.5, -0.11].
    """
    return (1 - rows @ rows.T).sigmoid() - 1


def greedy_gains(weights: Tensor, members: Tensor, sizes: Tensor, edges: Tensor) -> Tensor:
    """Gain of each sample when it is taken, if always the one of highest gain is, ties to the earlier in its cluster.

    A sample's gain depends on its own cluster, so each goes through its own order, those of one size at once.

    Args:
        weights: (N,) float32, of the nodes.
        members: (N,) int64 positions of the samples, those of a cluster together.
        sizes: (K,) int64, number of samples in each cluster.
        edges: (Σ sizes²,) float, at most 0: weights of each cluster's edges, row by row.

    Returns:
        (N,) float32; in the order in which a cluster's samples are taken they never rise.
    """
    found = torch.empty_like(weights)
    starts, edge_starts = sizes.cumsum(0) - sizes, sizes.square().cumsum(0) - sizes.square()
    for size, group in enumerate(groups(sizes)[1:], start=1):
        for alike in torch.split(group, max(1, _BLOCK_VALUES // size**2)):
            rows = members[starts[alike, None] + torch.arange(size)]
            between = edges[edge_starts[alike, None] + torch.arange(size**2)].float().view(len(alike), size, size)
            gains, each = weights[rows], torch.arange(len(alike))
            for _ in range(size):
                highest, pick = gains.max(1)
                found[rows[each, pick]] = highest
                gains += between[each, pick]
                gains[each, pick] = -torch.inf
    return found
