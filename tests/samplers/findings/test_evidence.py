"""Sums of what the model said: by hand, in any order, saved and restored."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.samplers.findings import Evidence
from dynsel.samplers.findings.suspects import suspects_in_words
from dynsel.selectors import Feedback
from dynsel.selectors.verdicts import verdicts


def told(indices: list[int], logits: torch.Tensor, targets: list[int]) -> Feedback:
    """What a batch tells of these samples."""
    return Feedback(torch.tensor(indices), **verdicts(logits, torch.tensor(targets)))


def test_sums_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [0.0, 1.0, 2.0]])
    evidence = Evidence(4)
    evidence.learn(told([0, 2, 0], logits, [0, 0, 0]))
    p = logits.softmax(1)
    assert evidence.seen.tolist() == [2, 0, 1, 0]
    assert evidence.right.tolist() == [1, 0, 0, 0]
    assert evidence.given.tolist() == [0, -1, 0, -1]
    torch.testing.assert_close(evidence.own[[0, 2]], torch.stack([p[0, 0] + p[2, 0], p[1, 0]]))
    torch.testing.assert_close(evidence.rival[[0, 2]], torch.stack([p[0, 2] + p[2, 2], p[1, 1]]))
    torch.testing.assert_close(evidence.margin[[0, 2]], torch.tensor([1.0 - 2.0, -3.0]))
    assert evidence.other.tolist() == [2, -1, 1, -1]


def test_the_other_class_is_that_of_the_majority() -> None:
    evidence = Evidence(1)
    weak, strong = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 6.0]])
    evidence.learn(told([0], weak, [0]))
    assert evidence.other.tolist() == [1]
    for logits in (strong, weak, strong):
        evidence.learn(told([0], logits, [0]))
    assert evidence.other.tolist() == [2]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 99))
def test_grouping_does_not_matter(indices: list[int], size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(indices), 3, generator=generator)
    targets = torch.randint(3, (len(indices),), generator=generator).tolist()
    whole, parts = Evidence(5), Evidence(5)
    whole.learn(told(indices, logits, targets))
    for start in range(0, len(indices), size):
        part = slice(start, start + size)
        parts.learn(told(indices[part], logits[part], targets[part]))
    for name, numbers in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], numbers)


def test_gaps_are_left_out() -> None:
    evidence = Evidence(3)
    gap = verdicts(torch.randn(3, 2), torch.tensor([0, 1, 0]))
    gap["margin"][1] = math.nan
    evidence.learn(Feedback(torch.arange(3), **gap))
    assert evidence.seen.tolist() == [1, 0, 1]
    evidence.learn(Feedback(torch.arange(3)))
    assert evidence.seen.tolist() == [1, 0, 1]


def test_certainty_makes_no_nan() -> None:
    evidence = Evidence(2)
    logits = torch.tensor([[500.0, -500.0], [500.0, -500.0]])
    evidence.learn(told([0, 1], logits, [0, 1]))
    for numbers in evidence.state_dict().values():
        assert torch.isfinite(numbers).all()
    assert evidence.own.tolist() == [1, 0]
    assert evidence.rival.tolist() == [0, 1]


def test_it_is_restored_and_nothing_else_is() -> None:
    evidence, again = Evidence(3), Evidence(3)
    evidence.learn(told([0, 2], torch.randn(2, 4), [1, 3]))
    again.load_state_dict(evidence.state_dict())
    again.learn(told([1], torch.randn(1, 4), [0]))
    assert again.seen.tolist() == [1, 1, 1]
    assert evidence.seen.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"the state is not of these findings: .*`seen` must be of shape \(4,\)"):
        Evidence(4).load_state_dict(evidence.state_dict())
    state = {**evidence.state_dict(), "what": torch.zeros(3)}
    del state["given"]
    with pytest.raises(ValueError, match=r"the state is not of these findings: unexpected `what`; no `given`$"):
        again.load_state_dict(state)


def test_it_takes_36_bytes_a_sample() -> None:
    state = Evidence(1000).state_dict()
    assert sum(numbers.numel() * numbers.element_size() for numbers in state.values()) == 36_000


def test_classes_that_are_none_of_the_sample_say_nothing_of_labels() -> None:
    """A sample's place in the batch, as CLIP has it, or one class for all, as MoCo has it."""
    logits = torch.eye(4) * 5
    labels, places, one = Evidence(4), Evidence(4), Evidence(4)
    assert labels.why_no_labels() == "training told no logits of a classification with one label per sample"
    for shift in range(4):
        order = (torch.arange(4) + shift) % 4
        labels.learn(told(order.tolist(), logits[order], order.tolist()))
        places.learn(told(order.tolist(), logits, [0, 1, 2, 3]))
        one.learn(told(order.tolist(), logits, [0, 0, 0, 0]))
    assert labels.why_no_labels() == ""
    assert places.why_no_labels().startswith("the classes that samples are trained as change from use to use")
    assert one.why_no_labels() == "all samples are trained as one class"
    assert suspects_in_words(places) == ""


def test_a_few_labels_may_be_mended_on_the_way() -> None:
    evidence, logits = Evidence(40), torch.randn(40, 3)
    classes = (torch.arange(40) % 3).tolist()
    evidence.learn(told(list(range(40)), logits, classes))
    evidence.learn(told(list(range(40)), logits, [2, *classes[1:]]))
    assert evidence.moved.tolist() == [1] + 39 * [0]
    assert evidence.why_no_labels() == ""
