"""Selective backprop: the highest losses of the candidates; what is not finite never stays."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.selectors import SelectiveBackprop


def keep(losses: list[float], count: int) -> list[int]:
    selector = SelectiveBackprop()
    selector.bind(len(losses))
    return selector.keep(torch.arange(len(losses)), torch.tensor(losses), count, torch.Generator()).tolist()


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=20), st.data())
def test_the_highest_stay(losses, data):
    count = data.draw(st.integers(1, len(losses)))
    # Of equal ones the first.
    assert keep(losses, count) == sorted(sorted(range(len(losses)), key=lambda i: (-losses[i], i))[:count])


def test_what_is_not_finite_never_stays():
    assert keep([torch.nan, 0.1, torch.inf, 0.3, 0.2], 2) == [3, 4]


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"only 2 of 4 candidates have a finite loss and 3 are to be kept: training has diverged, or"
    ):
        keep([torch.nan, 0.1, -torch.inf, 0.3], 3)
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"`count` must be between 1 and the number of candidates, 2, got {count}"):
            keep([0.1, 0.2], count)
