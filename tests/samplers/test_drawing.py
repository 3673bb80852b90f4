"""What a sampler of the user's yields is drawn as it would draw itself."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import RandomSampler, SequentialSampler

from dynsel.samplers.drawing import drawn, index_dtype, told_length


@given(st.integers(1, 40), st.integers(1, 90), st.booleans(), st.booleans())
def test_torchs_samplers_are_drawn_as_they_draw_themselves(n, number, own, shuffle):
    """The same order, and the same states of the generators afterwards."""

    def order(draw: Any) -> tuple[list[int], list[int], list[int]]:
        torch.manual_seed(number)
        generator = torch.Generator().manual_seed(n) if own else None
        sampler = RandomSampler(range(n), num_samples=number, generator=generator) if shuffle else range(n)
        if not shuffle:
            sampler = SequentialSampler(sampler)
        found = draw(sampler)
        return found, torch.rand(3).tolist(), [] if generator is None else torch.rand(3, generator=generator).tolist()

    assert order(lambda sampler: drawn(sampler).tolist()) == order(list)


def test_a_saved_order_holds_every_position():
    """Positions go up to one less than the length."""
    assert [index_dtype(n) for n in (1, 2**31, 2**31 + 1, 10**10)] == [torch.int32] * 2 + [torch.int64] * 2
    assert torch.tensor(2**31 - 1).to(index_dtype(2**31)).item() == 2**31 - 1


def test_who_does_not_tell_a_length_has_none():
    class Unsized:
        def __len__(self) -> int:
            raise NotImplementedError

    assert [told_length(base) for base in (range(3), iter(range(3)), Unsized())] == [3, None, None]
