"""Boundary: local variation by hand, and what lies between two classes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from dynsel.selectors import Hybrid
from dynsel.selectors.terms.boundary import local_variation


def test_local_variation_by_hand():
    # A path 0 - 1 - 2 with weights 1 and 3, and a lone 3.
    graph = sp.csr_array((np.array([1.0, 1.0, 3.0, 3.0]), ([0, 1, 1, 2], [1, 0, 2, 1])), shape=(4, 4))
    signal = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [5.0, 5.0]])
    np.testing.assert_allclose(local_variation(graph, signal), [1.0, (1 + 3 * 4) / 4, 4.0, 0.0], rtol=1e-6)


def test_boundary_finds_what_lies_between_two_classes():
    """A square of points, its left half of one class: the nearer to the middle, the more neighbours of the other."""
    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    selector = Hybrid(terms={"boundary": 1.0}, seed=0)
    with pytest.raises(ValueError, match="Hybrid needs labels; pass `labels=`"):
        selector.bind(300)
    selector.bind(300, (x[:, 0] > 0.5).long())
    selector.fit(x)
    distance = (x[:, 0] - 0.5).abs()
    ranks = selector.terms["boundary"].ranks
    assert float(ranks[distance < 0.05].mean()) > 0.85
    assert float(ranks[distance > 0.3].mean()) < 0.5
