"""Forgetting against a loop over each sample's history."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.selectors import Feedback, Forgetting


def counted(history: list[bool]) -> float:
    """Times that right was followed by wrong; infinite if it was never right."""
    if not any(history):
        return float("inf")
    return sum(a and not b for a, b in itertools.pairwise(history))


@settings(max_examples=60)
@given(st.integers(1, 8).flatmap(lambda t: st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=2)))
def test_the_most_forgotten_are_kept(histories: list[list[bool]]) -> None:
    selector = Forgetting(warmup=0.0, seed=0)
    selector.bind(len(histories))
    for right in zip(*histories, strict=True):
        selector.observe(Feedback(torch.arange(len(histories)), value=torch.tensor(right).float()))
    counts = [counted(history) for history in histories]
    size = max(1, len(histories) // 2)
    chosen = selector.select(0.5, size).indices.tolist()
    assert sorted(counts[i] for i in chosen) == sorted(counts, reverse=True)[:size][::-1]


def test_equal_counts_are_drawn() -> None:
    def chosen(seed: int) -> list[int]:
        selector = Forgetting(warmup=0.0, seed=seed)
        selector.bind(100)
        selector.observe(Feedback(torch.arange(100), value=torch.ones(100)))
        assert torch.equal(selector.select(0.5, 10).indices, selector.select(0.6, 10).indices)
        return selector.select(0.5, 10).indices.tolist()

    assert chosen(0) != chosen(1)
    assert chosen(0) != list(range(10))


def test_a_sample_that_is_padding_of_a_rank_too_counts_once() -> None:
    selector = Forgetting(warmup=0.0, seed=0)
    selector.bind(2)
    selector.observe(Feedback(torch.tensor([0, 1, 0]), value=torch.tensor([1.0, 1.0, 1.0])))
    selector.observe(Feedback(torch.tensor([0, 1, 0]), value=torch.tensor([0.0, 1.0, 1.0])))
    assert selector.forgotten.tolist() == [1, 0]


def test_the_measure_is_whether_the_class_is_right() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert Forgetting().measure(logits, torch.tensor([0, 0, 0]), None).tolist() == [1.0, 0.0, 1.0]
