from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynsel.selectors.shards.quotas import class_quotas


@given(arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.integers(0, 20)), st.floats(0, 1))
def test_shards_are_exact_and_no_class_is_overdrawn(sizes, share):
    quota = int(share * sizes.sum(1).min())
    given_ = class_quotas(sizes, quota)
    assert (given_.sum(1) == quota).all()
    assert ((given_ >= 0) & (given_ <= sizes)).all()


@pytest.mark.parametrize(("shards", "classes"), [(64, 10), (64, 1000), (512, 100)])
def test_classes_are_exact_too_in_shuffled_shards(shards, classes):
    draw = np.random.default_rng(1)
    shares = 1 / np.arange(1, classes + 1)
    sizes = draw.multinomial(20_000, shares / shares.sum(), size=shards)
    quota = 6_000
    found = class_quotas(sizes, quota)
    assert (found.sum(1) == quota).all()
    exact = sizes.sum(0) * (quota / 20_000)
    assert np.abs(found.sum(0) - exact).max() < 1
    assert np.abs(found - sizes * (quota / 20_000)).max() < 2


def test_everything_is_everything():
    sizes = np.array([[3, 4], [6, 1]])
    assert class_quotas(sizes, 7).tolist() == sizes.tolist()
    assert class_quotas(sizes, 0).tolist() == [[0, 0], [0, 0]]


def test_a_shard_without_a_class_gives_others():
    assert class_quotas(np.array([[4, 0], [0, 4]]), 2).tolist() == [[2, 0], [0, 2]]


def test_too_much_is_refused():
    with pytest.raises(ValueError, match="`quota` must be at most the samples of every shard, got 8 of 7"):
        class_quotas(np.array([[3, 4], [6, 2]]), 8)
