from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from selectors_shards import Alone, together

from dynsel.selectors.ranking import loss_rank
from dynsel.selectors.shards.cdf import fit_cdf, order_keys

DRAW = np.random.default_rng(0)
SIZE = 200_000
DISTRIBUTIONS = {
    "losses": DRAW.lognormal(size=SIZE),
    "narrow": 2.303 + 0.002 * DRAW.standard_normal(SIZE),
    "mostly certain": np.where(DRAW.random(SIZE) < 0.6, 1e-3 * DRAW.random(SIZE), DRAW.lognormal(size=SIZE)),
    "many zeros": np.where(DRAW.random(SIZE) < 0.2, 0.0, DRAW.lognormal(size=SIZE)),
    "two outliers": np.concatenate([0.7 + 0.01 * DRAW.standard_normal(SIZE - 2), [1e-38, 3e38]]),
    "few values": DRAW.integers(0, 9, SIZE).astype(float),
    "all equal": np.full(SIZE, -3.0),
}
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(FLOATS, min_size=2, max_size=50))
def test_keys_are_in_the_order_of_the_values(numbers):
    values = np.array([x for x in numbers if x == x], dtype=np.float32)
    keys = order_keys(values).astype(np.int64)
    assert np.array_equal(keys[:, None] < keys, values[:, None] < values)
    assert np.array_equal(keys[:, None] == keys, values[:, None] == values)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_ranks_are_those_of_sorting(name, clip):
    values = DISTRIBUTIONS[name].astype(np.float32)
    values[::7] = np.nan
    ranks = fit_cdf(values, Alone(), clip).ranks(values)
    exact = loss_rank(torch.from_numpy(values), clip).numpy()
    # At the cut of `clip`, what shares a cell with the cut is taken for one side of it.
    off = np.sort(np.abs(ranks - exact))
    assert off[-1 if not clip else -200] < 1e-4


@given(st.lists(FLOATS, min_size=1, max_size=40), st.sampled_from([1, 2, 5]))
def test_any_number_of_ranks_finds_the_same(numbers, ranks):
    values = np.array(numbers, dtype=np.float32)
    parts = np.array_split(values, ranks)

    def work(rank, reduce):
        cdf = fit_cdf(parts[rank], reduce)
        return None if cdf is None else cdf.ranks(parts[rank])

    found, _ = together(ranks, work)
    alone = fit_cdf(values, Alone())
    if alone is None:
        assert np.isnan(values).all()
        assert found == [None] * ranks
    else:
        assert np.array_equal(np.concatenate(found), alone.ranks(values))


def test_a_rank_without_values_takes_part():
    """All NaN there: the histogram is the others'."""
    values = DISTRIBUTIONS["losses"].astype(np.float32)
    found, _ = together(2, lambda rank, reduce: fit_cdf(values if rank else values * np.nan, reduce).ranks(values))
    assert np.array_equal(found[0], fit_cdf(values, Alone()).ranks(values))


def test_less_than_a_mebibyte_travels_whatever_the_size():
    def traffic(values):
        halves = np.array_split(values.astype(np.float32), 2)
        return together(2, lambda rank, reduce: fit_cdf(halves[rank], reduce))[1]

    sizes = {name: traffic(values) for name, values in DISTRIBUTIONS.items()}
    assert max(sizes.values()) < 1 << 20, sizes
    assert traffic(np.tile(DISTRIBUTIONS["losses"], 10)) < 1 << 20
