"""Declared state: how it begins, is saved, restored, copied, and what is said of a wrong one."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from dynsel.selectors import SELECTORS, Feedback, Hybrid, Random
from dynsel.selectors.terms import Term

N = 6


class Stated(Random):
    """One state of each kind."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.add_state("average", math.nan)
        self.add_state("count", 3)
        self.add_state("known", False)
        self.add_state("small", -1, dtype=torch.int8)
        self.add_state("fixed", torch.arange(4.0))
        self.add_state("later", None)


def bound(n: int = N) -> Stated:
    selector = Stated(seed=0)
    selector.bind(n)
    return selector


def test_how_a_state_begins() -> None:
    selector = bound()
    assert selector.average.isnan().all()
    kinds = {name: getattr(selector, name).dtype for name in ("average", "count", "known", "small", "usage")}
    expected = [torch.float32, torch.int32, torch.bool, torch.int8, torch.int32]
    assert list(kinds.values()) == expected
    assert selector.count.tolist() == [3] * N
    assert selector.fixed.tolist() == [0, 1, 2, 3]
    assert selector.later is None


def test_binding_makes_it_anew_and_leaves_the_default_alone() -> None:
    selector = bound()
    selector.fixed[0], selector.count[1], selector.later = 9.0, 9, torch.ones(2)
    selector.bind(N + 1)
    assert selector.fixed.tolist() == [0, 1, 2, 3]
    assert selector.count.tolist() == [3] * (N + 1)
    assert selector.later is None


@pytest.mark.parametrize("later", [None, torch.ones(2, 3)])
def test_a_state_is_restored(later: torch.Tensor | None) -> None:
    selector = bound()
    selector.average[2], selector.later = 0.5, later
    state = selector.state_dict()
    assert ("later" in state) == (later is not None)
    selector.average[2] = 7.0
    again = bound()
    again.later = torch.zeros(1)
    again.load_state_dict(state)
    assert again.average[2] == 0.5
    assert (again.later is None) if later is None else torch.equal(again.later, later)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"average": torch.zeros(5)},
            r"`average` must be of shape \(6,\) and torch.float32, got \(5,\) and",
        ),
        ({"count": torch.zeros(6)}, r"`count` must be of shape \(6,\) and torch.int32, got \(6,\) and torch.float32"),
        ({"fixed": torch.zeros(5)}, r"`fixed` must be of shape \(4,\)"),
        ({"later": [1, 2]}, "`later` must be a tensor, got list"),
        ({"usage": torch.zeros(9, dtype=torch.int32)}, "the state is of a data set of 9 samples, this one has 6"),
        ({"average": None}, "unexpected \\[\\], missing \\['average'\\]"),
        ({"more": torch.zeros(1)}, "the state is not of a Stated: unexpected \\['more'\\], missing \\[\\]"),
        ({"generator": torch.zeros(3)}, "`generator` is none"),
    ],
)
def test_a_wrong_state_changes_nothing(changes: dict[str, Any], message: str) -> None:
    selector = bound()
    before = selector.state_dict()
    state = {key: value for key, value in {**before, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        selector.load_state_dict(state)
    after = selector.state_dict()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key], equal_nan=True) for key in before)


@pytest.mark.parametrize("default", ["zero", [0, 1], object()])
def test_a_default_of_another_kind(default: Any) -> None:
    with pytest.raises(TypeError, match="`default` of x must be a number, a tensor or None"):
        Random().add_state("x", default)


@pytest.mark.parametrize("name", ["two words", "", "generator", 3])
def test_a_name_that_is_none(name: Any) -> None:
    with pytest.raises(ValueError, match="`name` must be that of an attribute"):
        Random().add_state(name, 0.0)


def test_a_declared_state_is_a_tensor_when_it_is_saved() -> None:
    selector = bound()
    selector.average = [0.0] * N
    with pytest.raises(TypeError, match=r"`Stated.average` is declared as state and must be a tensor, got list"):
        selector.state_dict()


def test_an_attribute_that_nobody_declared_is_missing_as_ever() -> None:
    with pytest.raises(AttributeError, match="'Stated' object has no attribute 'nothing'"):
        _ = Stated().nothing


# ---------------------------------------------------------------- copies
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda selector: pickle.loads(pickle.dumps(selector))])
@pytest.mark.parametrize("name", list(SELECTORS))
def test_a_copy_goes_on_by_itself(name: str, copied: Any) -> None:
    needed = {
        "alignprune": {"trusted": [0]},
        "jest": {"reference": torch.linspace(0, 1, N)},
        "proxy": {"model": "torch.nn.Identity"},
    }
    selector = SELECTORS[name](seed=1, **needed.get(name, {}))
    unbound = copied(selector)
    selector.bind(N, torch.arange(N) % 2)
    selector.observe(Feedback(torch.tensor([1, 2])))
    same = copied(selector)
    assert same.usage.tolist() == [0, 1, 1, 0, 0, 0]
    assert same.generator.get_state().equal(selector.generator.get_state())
    same.observe(Feedback(torch.tensor([1])))
    same.load_state_dict(same.state_dict())
    assert selector.usage.tolist() == [0, 1, 1, 0, 0, 0]
    unbound.bind(N, torch.arange(N) % 2)
    assert not unbound.usage.any()


# ---------------------------------------------------------------- terms
class Counts(Term):
    """A term from outside, with a state."""

    def __init__(self) -> None:
        self.add_state("seen", 0.0)

    def learn(self, feedback: Feedback) -> None:
        self.seen[feedback.indices] += 1

    def values(self, usage: torch.Tensor) -> torch.Tensor:
        return self.seen / 10


def test_a_term_from_outside_by_its_class_path() -> None:
    path = f"{__name__}.Counts"
    selector = Hybrid(terms={path: 2.0}, gamma=0.0, epsilon=0.0)
    selector.bind(N)
    selector.observe(Feedback(torch.tensor([1, 1, 2])))
    assert selector.scores(0.0).tolist() == pytest.approx([0, 0.2, 0.2, 0, 0, 0])
    again = Hybrid(terms={path: 2.0}, gamma=0.0, epsilon=0.0)
    again.bind(N)
    again.load_state_dict(selector.state_dict())
    assert again.terms[path].seen.tolist() == selector.terms[path].seen.tolist()
    other = Hybrid()
    other.bind(N)
    with pytest.raises(ValueError, match=rf'the state is of a Hybrid with terms={{"{path}": 2.0}} instead of'):
        other.load_state_dict(selector.state_dict())
    unnamed = {key: value for key, value in selector.state_dict().items() if key != "made_by"}
    with pytest.raises(ValueError, match=rf"not of a Hybrid: unexpected \['{path}.seen'\], missing \['uncertainty.ave"):
        other.load_state_dict(unnamed)
    with pytest.raises(ValueError, match=rf"`{path}.seen` must be of shape \(6,\)"):
        again.load_state_dict({**selector.state_dict(), f"{path}.seen": torch.zeros(3)})


class Short(Term):
    def values(self, usage: torch.Tensor) -> torch.Tensor:
        return torch.zeros(3)


def test_a_terms_values_are_checked() -> None:
    selector = Hybrid(terms={f"{__name__}.Short": 1.0})
    selector.bind(N)
    with pytest.raises(ValueError, match=r"`Short.values` must return one number per sample, shape \(6,\), got \(3,\)"):
        selector.select(0.0, 2)
