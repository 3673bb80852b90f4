"""Of which selector a state is: arguments in what JSON knows, and what differs in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dynsel.schedules import Constant, Linear
from dynsel.selectors.made_by import check_made_by, described, packed, plain


class Mine:
    """A selector's constructor."""

    def __init__(self, size: int, *, weight: object = 1.0, path: str = "") -> None: ...


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (Constant(2), 2.0),
        (Linear(0.0, 1.0), {"schedule": "Linear", "start": 0.0, "end": 1.0}),
        ({1: (2, None)}, {"1": [2, None]}),
        (torch.ones(3), "Tensor"),
        ([0] * 101, "list"),
    ],
)
def test_values_as_json_has_them(value, found):
    got = plain(value)
    shown = {key: got[key] for key in found} if isinstance(found, dict) else got
    assert shown == found
    assert type(got) is type(json.loads(json.dumps(got)))


def test_what_is_left_out_is_the_default_written():
    assert described(Mine, (2,), {"path": "x"}, frozenset({"path"})) == {"size": 2, "weight": 1.0}
    assert described(Mine, (), {"nothing": 1}, frozenset()) == {}  # the constructor says so itself


def test_a_state_names_what_differs():
    state = packed(Mine, {"size": 2, "weight": 1.0, "gone": 5})
    check_made_by(Mine, {"size": 2, "weight": 1.0, "new": 7}, state)  # came or went with another version
    with pytest.raises(ValueError, match=r"the state is of a Mine with size=2 instead of 3: make it as it was"):
        check_made_by(Mine, {"size": 3}, state)
    with pytest.raises(ValueError, match="the state is of the selector Mine, not of Other"):
        check_made_by(type("Other", (), {}), {}, state)


@pytest.mark.parametrize("state", [None, torch.zeros(3, dtype=torch.uint8), packed(Mine, {})[:-5]])
def test_a_damaged_state_says_so(state):
    with pytest.raises(ValueError, match="can't be read: the checkpoint is damaged"):
        check_made_by(Mine, {}, state)


def test_a_state_of_another_format():
    text = json.dumps({"format": 99, "class": "Mine", "arguments": {}}).encode()
    with pytest.raises(ValueError, match="has format 99, this dynsel reads 1: resume with the dynsel that saved it"):
        check_made_by(Mine, {}, torch.frombuffer(bytearray(text), dtype=torch.uint8))
