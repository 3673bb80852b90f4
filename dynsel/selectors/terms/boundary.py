"""Boundary: samples with neighbours of other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.selectors.terms.base import FixedTerm, Material

__all__ = ["Boundary", "local_variation"]


class Boundary(FixedTerm):
    """Share of the weight of a sample's neighbours in the graph that are of other classes, ranked. The term is ours.

    The graph is that of UMAP over several numbers of neighbours (`dynsel.graph.fuzzy_graph`); labels must be known.

    Reference:
        McInnes, Healy and Melville (2018), UMAP, arXiv:1802.03426, for the weights of the graph.
    """

    needs_labels = True

    def raw(self, material: Material) -> Tensor:
        """Half the local variation of one-hot labels: weight of the neighbours of other classes over that of all.

        Args:
            material: Features, labels and what several terms make of them.

        Returns:
            (N,) float32 in [0, 1].

        Raises:
            ValueError: If there are no labels.
        """
        if material.labels is None:
            raise ValueError("the term `boundary` needs class labels; pass `labels=`, or leave it out of `terms`")
        return local_variation(material.graph, F.one_hot(material.labels.long())) / 2


def local_variation(graph: Any, signal: Tensor) -> Tensor:
    """Mean squared difference of a signal to the neighbours, weighted by the edges; 0 where there are none.

    Args:
        graph: (N, N) scipy sparse, symmetric, not negative.
        signal: (N, C) values at the nodes of the graph.

    Returns:
        (N,) float32: Σ_j w_ij |s_i - s_j|² / Σ_j w_ij.
    """
    s = signal.double().numpy()
    degree = np.asarray(graph.sum(1)).ravel()
    square = (s * s).sum(1)
    # |s_i - s_j|² written out, so that no (edges, C) array is made.
    total = degree * square + graph @ square - 2 * (s * (graph @ s)).sum(1)
    return torch.from_numpy(np.divide(total, degree, out=np.zeros_like(total), where=degree > 0)).float()
