"""What every term keeps to: nothing before fit, only known parts of the feedback."""

from __future__ import annotations

import pytest
import torch

from dynsel.selectors.terms import NeuralWitness, Region, Representativeness, Term, Witness


@pytest.mark.parametrize("term", [Representativeness(), Region(), Witness(), NeuralWitness()])
def test_values_before_fit(term):
    with pytest.raises(RuntimeError, match=f"{type(term).__name__} has no values before `fit`"):
        term.values(torch.zeros(3).int())


@pytest.mark.parametrize("parts", [frozenset({"losses"}), "value", ["value"]])
def test_what_a_term_wants_is_a_set_of_parts_of_the_feedback(parts):
    with pytest.raises(
        TypeError, match=r"Mine: `wants` must be a set of batch_loss, given, margin, other, own, per_sa"
    ):
        type("Mine", (Term,), {"wants": parts})
