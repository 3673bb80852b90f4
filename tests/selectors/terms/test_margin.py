"""The term `margin`: means by hand, the order of what is told, a training."""

from __future__ import annotations

import math

import pytest
import torch
from support import fit, train_loader

from dynsel import DynamicSelection
from dynsel.selectors import Feedback, Hybrid
from dynsel.selectors.terms import Margin


def test_it_is_the_mean_over_all_uses():
    told = Feedback(torch.tensor([0, 0, 2, 3]), margin=torch.tensor([-1.0, -4.0, 5.0, math.nan]))
    term = Margin()
    term.bind(4)
    for _ in range(2):
        term.learn(told)
    term.learn(Feedback(torch.tensor([0]), margin=torch.tensor([1.0])))
    assert term.seen.tolist() == [5, 0, 2, 0]
    assert term.values(torch.zeros(4)).tolist() == pytest.approx([math.exp(-9 / 5), 1, 1, 1])


def test_order_and_grouping_do_not_matter():
    indices, margins = torch.randint(9, (50,)), torch.randn(50)
    whole, parts = Margin(), Margin()
    for term in (whole, parts):
        term.bind(9)
    whole.learn(Feedback(indices, margin=margins))
    for part in torch.arange(50).flip(0).split(7):
        parts.learn(Feedback(indices[part], margin=margins[part]))
    torch.testing.assert_close(whole.values(torch.zeros(9)), parts.values(torch.zeros(9)))


def test_training_tells_it_the_margins():
    selector = Hybrid(terms={"uncertainty": 1.0, "margin": 0.5})
    assert selector.needs == ("logits", "logits or losses")
    fit(DynamicSelection(selector, keep_ratio=0.5), loader=train_loader(), max_epochs=3)
    term = selector.terms["margin"]
    assert torch.equal(term.seen, selector.usage)
    assert term.total.abs().min() > 0
