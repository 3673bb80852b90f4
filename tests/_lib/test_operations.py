"""Operations by hand: products, convolutions, forward and backward, and what nobody counts."""

from __future__ import annotations

import torch
from torch import nn

from dynsel._lib.operations import FlopTap, can_count


def test_a_product_is_two_operations_an_entry_and_twice_as_many_backward():
    layer, x = nn.Linear(3, 5, bias=False), torch.ones(2, 3, requires_grad=True)
    with FlopTap() as tap:
        out = layer(x)
        forward = tap.total
        out.sum().backward()
    assert forward == 2 * 2 * 3 * 5
    assert tap.total == 3 * forward  # by the input and by the weights


def test_a_convolution_by_hand():
    with FlopTap() as tap:
        nn.Conv2d(3, 4, 3, bias=False)(torch.ones(2, 3, 8, 8))
    assert tap.total == 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)


def test_closed_it_counts_no_more():
    tap = FlopTap()
    with tap:
        torch.ones(2, 2) @ torch.ones(2, 2)
    tap.close()
    torch.ones(2, 2) @ torch.ones(2, 2)
    assert tap.total == 16


def test_what_is_compiled_is_not_counted():
    module = nn.Sequential(nn.Linear(2, 2))
    assert can_count(module)
    assert not can_count(torch.compile(module))
    module[0].compile()
    assert not can_count(module)
