"""What logits say of labels, by hand and beside softmax."""

from __future__ import annotations

import torch

from dynsel.selectors import Feedback
from dynsel.selectors.verdicts import VERDICTS, verdicts


def test_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    said = verdicts(logits.half(), torch.tensor([0, 2, 1]))
    torch.testing.assert_close(said["own"], logits.softmax(1)[range(3), [0, 2, 1]])
    assert said["given"].tolist() == [0, 2, 1]
    assert said["other"].tolist() == [2, 1, 0]
    torch.testing.assert_close(said["margin"], torch.tensor([1.0, -3.0, 0.0]))
    assert {numbers.dtype for numbers in said.values()} == {torch.float32}


def test_they_are_parts_of_the_feedback() -> None:
    said = verdicts(torch.randn(2, 3, requires_grad=True), torch.tensor([0, 1]))
    assert set(said) == VERDICTS
    assert not any(numbers.requires_grad for numbers in said.values())
    told = Feedback(torch.arange(2), value=torch.zeros(2), **said)
    assert told.only(VERDICTS).value is None
    assert torch.equal(told.only({"own"}).own, said["own"])
