from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from dynsel.selectors.shards.permutation import TABLE_UNTIL, Permutation, mixed_key


@settings(max_examples=40)
@given(st.one_of(st.integers(1, 300), st.integers(TABLE_UNTIL - 2, TABLE_UNTIL + 40_000)), st.integers())
def test_every_value_once(size, key):
    assert np.array_equal(np.sort(Permutation(size, key)(np.arange(size))), np.arange(size))


@given(st.integers(1, 1 << 62), st.integers(0, 1 << 64), st.lists(st.floats(0, 1, exclude_max=True), min_size=1))
def test_the_inverse_goes_back_at_any_size(size, key, shares):
    """Beyond 2^32 as well, where two halves no longer fit into 32 bits."""
    if size < TABLE_UNTIL:
        size += TABLE_UNTIL
    places = np.unique(np.array([int(share * size) for share in shares]))
    shuffle = Permutation(size, key)
    values = shuffle(places)
    assert len(np.unique(values)) == len(places)
    assert 0 <= values.min() <= values.max() < size
    assert np.array_equal(shuffle.inverse(values), places)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_piece_is_the_same_as_in_the_whole(size):
    shuffle = Permutation(size, 1, 2)
    assert np.array_equal(shuffle(np.arange(size))[300:400], shuffle(np.arange(300, 400)))


@pytest.mark.parametrize("size", [1000, 100_000, 1 << 18])
def test_places_and_values_are_independent(size):
    """χ² of 32 × 32 cells of place and value; and a neighbour's value says nothing of a value."""
    values = Permutation(size, 3)(np.arange(size))
    cells = np.bincount(np.arange(size) * 32 // size * 32 + values * 32 // size, minlength=1024)
    wanted = size / 1024
    assert ((cells - wanted) ** 2 / wanted).sum() < chi2.ppf(1 - 1e-6, 1023)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 / size**0.5


@pytest.mark.parametrize("size", [1000, 100_000])
def test_another_key_is_another_permutation(size):
    first, second = (Permutation(size, 3, key)(np.arange(size)) for key in (0, 1))
    # The number of places that agree is Poisson of mean 1.
    assert np.count_nonzero(first == second) < 12


def test_each_part_of_a_key_counts():
    keys = {mixed_key(*parts) for parts in [(), (0,), (0, 0), (1, 0), (0, 1), (-1,), (1 << 63,)]}
    assert len(keys) == 7


@pytest.mark.parametrize("size", [0, -1, (1 << 62) + 1])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match=r"`size` must be in 1 .. 2\^62, got"):
        Permutation(size, 0)
