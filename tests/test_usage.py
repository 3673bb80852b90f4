"""Usage counts and what follows from them, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynsel.usage import count_uses, coverage, gini, usage_penalty

counts = hnp.arrays(np.int32, st.integers(1, 50), elements=st.integers(0, 30))


def test_count_uses_counts_repetitions_in_place():
    usage = torch.zeros(4, dtype=torch.int32)
    assert count_uses(usage, torch.tensor([1, 3, 1])) is usage
    count_uses(usage, torch.tensor([], dtype=torch.int64))
    count_uses(usage, torch.tensor([0], dtype=torch.int32))
    assert usage.tolist() == [1, 2, 0, 1]
    assert usage.dtype == torch.int32


@given(st.lists(st.integers(0, 19), max_size=80))
def test_count_uses_is_bincount(indices):
    usage = count_uses(torch.zeros(20, dtype=torch.int32), torch.tensor(indices, dtype=torch.int64))
    assert usage.tolist() == np.bincount(np.array(indices, dtype=int), minlength=20).tolist()


@given(counts)
def test_gini_is_its_definition(usage):
    """Mean absolute difference of all pairs, relative to twice the mean."""
    x = usage.astype(float)
    wanted = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean()) if x.any() else 0.0
    assert gini(torch.from_numpy(usage)) == pytest.approx(wanted, abs=1e-12)


def test_gini_by_hand():
    assert gini(torch.tensor([2, 2, 2], dtype=torch.int32)) == pytest.approx(0.0)
    assert gini(torch.tensor([0, 0, 0, 4], dtype=torch.int32)) == 0.75  # (n - 1) / n
    assert gini(torch.tensor([1, 3], dtype=torch.int32)) == 0.25
    assert gini(torch.zeros(0, dtype=torch.int32)) == 0.0


@given(counts)
def test_penalty_is_one_on_average(usage):
    penalty = usage_penalty(torch.from_numpy(usage))
    assert penalty.dtype == torch.float32
    assert float(penalty.mean()) == pytest.approx(1.0 if usage.any() else 0.0, abs=1e-5)
    np.testing.assert_allclose(penalty * usage.mean(), usage, rtol=1e-5)


def test_penalty_is_the_frequency_over_the_keep_ratio():
    usage = torch.tensor([4, 2, 0, 2], dtype=torch.int32)  # 4 epochs of 2 out of 4
    frequency, keep_ratio = usage / 4, 0.5
    assert torch.equal(usage_penalty(usage), frequency / keep_ratio)


@given(counts)
def test_coverage_is_the_share_of_the_used(usage):
    assert coverage(torch.from_numpy(usage)) == np.mean(usage > 0)


def test_coverage_of_nothing():
    assert coverage(torch.zeros(0, dtype=torch.int32)) == 0.0
