"""Positions by code."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel._lib.groups import groups


@given(st.lists(st.integers(0, 6), max_size=40), st.sampled_from([torch.int64, torch.int32, torch.uint8]))
def test_every_position_is_in_the_group_of_its_code(codes: list[int], kind: torch.dtype) -> None:
    found = groups(torch.tensor(codes, dtype=kind))
    wanted = [[i for i, code in enumerate(codes) if code == c] for c in range(max(codes, default=-1) + 1)]
    assert [positions.tolist() for positions in found] == wanted
