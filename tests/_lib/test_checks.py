"""Checks of plain arguments: what passes as what, and what the errors say."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel._lib.checks import check_choice, check_flag, check_integer, check_number, import_by_path


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_a_number_of_any_library_is_a_float(value: Any) -> None:
    found = check_number("x", value, at_least=0, below=1)
    assert (found, type(found)) == (0.5, float)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_a_whole_number_of_any_library_is_an_int(value: Any) -> None:
    found = check_integer("x", value, at_least=1)
    assert (found, type(found)) == (3, int)
    assert check_number("x", value) == 3.0


@pytest.mark.parametrize("value", [True, np.bool_(True), "0.5", None, [0.5], 1j, torch.tensor(0.5)])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match=r"`x` must be a number, got .*; half is usual"):
        check_number("x", value, why="half is usual")
    with pytest.raises(TypeError, match="`x` must be a whole number, got "):
        check_integer("x", value)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_what_passes_is_finite_and_within_bounds(value: float) -> None:
    if 0 < value <= 2:
        assert check_number("x", value, above=0, at_most=2) == value
        return
    with pytest.raises(ValueError, match=rf"`x` must be in \(0, 2\], got {re.escape(str(value))}$"):
        check_number("x", value, above=0, at_most=2)


@pytest.mark.parametrize(
    ("bounds", "value", "wanted"),
    [
        ({"at_least": 0}, -1, "at least 0"),
        ({"above": 0}, 0, "above 0"),
        ({"at_most": 5}, 6, "at most 5"),
        ({"below": 5}, 5, "below 5"),
        ({"at_least": 0}, math.nan, "at least 0 and finite"),
        ({}, math.inf, "finite"),
        ({}, 10**400, "finite"),
        ({"at_least": -1, "below": 1}, 1, r"in \[-1, 1\)"),
    ],
)
def test_bounds_in_words(bounds: dict[str, float], value: float, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"`x` must be {wanted}, got {value}$"):
        check_number("x", value, **bounds)


def test_flags_and_choices() -> None:
    assert check_flag("x", np.bool_(False)) is False
    for value in ("no", 1, None):
        with pytest.raises(TypeError, match="`x` must be True or False, got"):
            check_flag("x", value)
    assert check_choice("x", "a", ("a", "b")) == "a"
    for value in ("c", 1, ["a"]):
        with pytest.raises(ValueError, match="`x` must be 'a' or 'b', got"):
            check_choice("x", value, ("a", "b"))


def test_import_by_path() -> None:
    assert import_by_path("model", "torch.nn.Linear") is torch.nn.Linear
    for path in ("torch.nn.Linaer", "nowhere.Net", "Net", ""):
        with pytest.raises(ValueError, match=f"`model` must be a class path that can be imported, got '{path}'"):
            import_by_path("model", path)
    with pytest.raises(TypeError, match="`model` must be a class path as text, got 1"):
        import_by_path("model", 1)
