"""Region: what lies where training was little."""

from __future__ import annotations

from torch import Tensor

from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.terms.base import Material, Term
from dynsel.usage import usage_penalty

__all__ = ["Region"]


class Region(Term):
    """Prefers the regions of the neighbour graph that were trained on least.

    The usage, as a signal on the graph, is projected on the graph's smoothest eigenvectors; the term is the rank
    of minus that projection. It is ours: a low-pass filter as of graph signal processing.

    Attributes:
        embedding: (N, 16 at most) float32, the eigenvectors, each of unit variance; None before `fit`.
    """

    needs_features = True
    embedding: Tensor | None

    def __init__(self) -> None:
        self.add_state("embedding", None)

    def fit(self, material: Material) -> None:
        """Take the smoothest eigenvectors of the graph.

        Args:
            material: Features, labels and what several terms make of them.
        """
        self.embedding = material.embedding.float()

    def values(self, usage: Tensor) -> Tensor:
        """How little was trained on in the region of each sample.

        Args:
            usage: (N,) int32 uses so far.

        Returns:
            (N,) float32 ranks in [0, 1].

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.embedding is None:
            raise RuntimeError("Region has no values before `fit`")
        excess = usage_penalty(usage)
        smooth = self.embedding @ (self.embedding.T @ (excess - excess.mean()))
        return rank_within_class(-smooth)
