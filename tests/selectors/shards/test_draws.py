from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from dynsel.selectors.shards.draws import CHUNK, uniform_at


@given(st.lists(st.integers(0, (1 << 62)), min_size=1, max_size=50), st.integers(0, (1 << 64) - 1))
def test_a_draw_belongs_to_its_index(indices, key):
    drawn = uniform_at(np.array(indices), key)
    assert all(uniform_at(np.array([i]), key)[0] == drawn[n] for n, i in enumerate(indices))
    assert ((drawn > 0) & (drawn < 1)).all()


def test_draws_are_uniform():
    drawn = uniform_at(np.arange(3 * CHUNK + 5), 7)
    assert kstest(drawn, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 5 / len(drawn) ** 0.5


def test_other_keys_give_other_draws():
    """Neighbouring ones too."""
    drawn = np.stack([uniform_at(np.arange(100_000), key) for key in (0, 1, 2, 1 << 40)])
    correlations = np.corrcoef(drawn)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / 100_000**0.5
