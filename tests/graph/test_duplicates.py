"""Groups of duplicates: planted copies, chains, scale, equal keys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.graph import duplicate_groups, group_codes


@given(st.integers(12, 60), st.integers(0, 99), st.floats(0.01, 100))
def test_planted_copies_are_found_and_nothing_else(count: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = scale * torch.randn(count, 30, generator=generator)
    near = rows[:4] + 0.01 * scale * torch.randn(4, 30, generator=generator)
    groups = duplicate_groups(torch.cat([rows, rows[:4], near]))
    assert groups.tolist() == [*range(count), *range(4), *range(4)]


def test_only_equal_rows_if_asked() -> None:
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    rows[7], rows[9] = rows[3], rows[3] + 1e-3
    groups = duplicate_groups(rows, closeness=0.0)
    assert groups[7] == groups[3] != groups[9]
    assert len(groups.unique()) == 19


def test_a_group_may_be_larger_than_what_is_looked_at() -> None:
    rows = torch.cat([torch.zeros(25, 3), torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) * 50])
    groups = duplicate_groups(rows)
    assert (groups[:25] == 0).all()
    assert int((groups == 0).sum()) == 25


def test_few_samples() -> None:
    assert duplicate_groups(torch.zeros(1, 3)).tolist() == [0]
    assert duplicate_groups(torch.zeros(0, 3)).tolist() == []
    assert duplicate_groups(torch.tensor([[0.0], [0.0]])).tolist() == [0, 0]


@pytest.mark.parametrize("closeness", [1.0, -0.1])
def test_wrong_closeness(closeness: float) -> None:
    with pytest.raises(ValueError, match=r"`closeness` must be in \[0, 1\), got .*; it is a share of the usual"):
        duplicate_groups(torch.zeros(3, 3), closeness)


def test_equal_keys_are_one_group() -> None:
    assert group_codes(["b", "a", "b", 3]).tolist() == [0, 1, 0, 2]
