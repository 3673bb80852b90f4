"""What training tells back: gaps are left out of all parts at once."""

from __future__ import annotations

import pytest
import torch

from dynsel.selectors import Feedback
from dynsel.selectors.feedback import check_wants

NAN = float("nan")


def test_samples_with_a_gap_in_any_part_are_left_out():
    told = Feedback(
        torch.tensor([7, 3, 5]),
        per_sample_loss=torch.tensor([1.0, NAN, 2.0]),
        value=torch.tensor([1.0, 2.0, torch.inf]),
    )
    finite = told.finite()
    assert (finite.indices.tolist(), finite.per_sample_loss.tolist(), finite.value.tolist()) == ([7], [1.0], [1.0])
    assert finite.batch_loss is None


def test_without_a_gap_it_is_the_same_object():
    told = Feedback(torch.arange(2), batch_loss=torch.ones(2))
    assert told.finite() is told


def test_every_part_is_a_tensor():
    with pytest.raises(TypeError, match="`indices` must be a tensor, got 'list'"):
        Feedback([1, 2])
    with pytest.raises(TypeError, match="`value` must be a tensor, got 'list'"):
        Feedback(torch.arange(2), value=[1.0, 2.0])


@pytest.mark.parametrize("wants", [{"loss"}, "value", ["value"], 3])
def test_wants_are_parts_of_it(wants):
    with pytest.raises(TypeError, match="Mine: `wants` must be a set of batch_loss, given, margin, other, own, per_sa"):
        check_wants(type("Mine", (), {"wants": wants}))


@pytest.mark.parametrize("wants", [set(), frozenset({"value"}), property(lambda self: {"value"})])
def test_wants_that_are_fine(wants):
    check_wants(type("Mine", (), {"wants": wants}))
    check_wants(type("Nothing", (), {}))
