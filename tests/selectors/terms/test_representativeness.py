"""Representativeness: samples whose factors are frequent come first."""

from __future__ import annotations

import torch

from dynsel.sae import SparseCodes
from dynsel.selectors.factors import factor_scores
from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.terms import Rarity, Representativeness
from dynsel.selectors.terms.base import Material


class Known(Material):
    """Factors are known: five samples have the first, one the second."""

    factors = factor_scores(SparseCodes(torch.tensor([[0]] * 5 + [[1]]), torch.ones(6, 1), 2))


def test_the_lone_sample_is_last_and_by_rarity_first():
    material = Known(torch.zeros(6, 1), None, None, 0)
    for term, place in ((Representativeness(), 0.0), (Rarity(), 1.0)):
        term.bind(6)
        term.fit(material)
        values = term.values(torch.zeros(6, dtype=torch.int32))
        assert float(values[5]) == place
        torch.testing.assert_close(values, rank_within_class(term.raw(material)))
