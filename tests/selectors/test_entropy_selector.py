"""Entropies of the predicted classes, beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from dynsel.selectors import UGIES, Geometry, Hybrid
from dynsel.selectors.entropy_selector import EntropySelector


@pytest.mark.parametrize("selector", [Hybrid(), UGIES(), Geometry()])
def test_the_entropy_is_scipys(selector: EntropySelector) -> None:
    logits = 5 * torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    wanted = entropy(np.exp(logits.double().numpy()), axis=1)  # which makes shares of them
    np.testing.assert_allclose(selector.measure(logits, None, None), wanted, rtol=1e-4, atol=1e-6)


def test_the_sure_and_the_unsure() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 200.0, 0.0], [-torch.inf, 1.0, 1.0]])
    np.testing.assert_allclose(Hybrid().measure(logits, None, None), [np.log(3), 0, np.log(2)], atol=1e-6)
