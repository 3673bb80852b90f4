"""Which of several train loaders is selected from."""

from __future__ import annotations

import pytest

from dynsel.callbacks.choice_of_loader import place_of_loader

TWO = {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("loaders", "count", "key", "place"),
    [([1], 1, None, 0), ({"only": [1]}, 1, "only", 0), (TWO, 2, "a", 0), (TWO, 2, 1, 1), ([[1], [2]], 2, 0, 0)],
)
def test_by_key_by_position_or_the_only_one(loaders, count, key, place):
    assert place_of_loader(loaders, count, key) == place


@pytest.mark.parametrize(
    ("loaders", "key", "message"),
    [
        (TWO, None, r"several train loaders; say which one to select from by `loader=`, one of \['a', 'b'\]"),
        (TWO, "c", r"no train loader 'c'; .* one of \['a', 'b'\]"),
        ([[1], [2]], 2, r"no train loader 2; .* one of \[0, 1\]"),
    ],
)
def test_an_unclear_choice_names_what_there_is(loaders, key, message):
    with pytest.raises(ValueError, match=message):
        place_of_loader(loaders, 2, key)
