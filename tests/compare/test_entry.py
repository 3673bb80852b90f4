"""A selector of a comparison as text, with what of its training differs."""

from __future__ import annotations

import pytest

from dynsel.compare.entry import baseline_of, parse_entry
from dynsel.selectors import RRD, Random


def test_budget_and_keep_ratio_stand_among_the_arguments() -> None:
    assert parse_entry("random") == (Random, {}, None, None)
    assert parse_entry("rrd:budget=0.7,k=8,keep_ratio=0.3") == (RRD, {"k": 8}, 0.7, 0.3)
    schedule = 'rrd:gamma={"class_path":"dynsel.schedules.Linear","init_args":{"start":0.3,"end":0}},budget=1'
    assert parse_entry(schedule).budget == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("random:budget=0", r"`budget` must be in \(0, 1\], got 0"),
        ("random:keep_ratio=1.5", r"`keep_ratio` must be in \(0, 1\], got 1.5"),
        ("random:budgets=0.5", "Random has no argument 'budgets'"),
        ("rnadom:budget=0.5", "unknown selector 'rnadom'; did you mean 'random'"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_entry(text)


def test_a_keep_ratio_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="`keep_ratio` must be a number, got 'half'"):
        parse_entry("random:keep_ratio=half")


def test_the_baseline_is_trained_alike() -> None:
    assert baseline_of("rrd:k=8", "random") == "random"
    assert baseline_of("rrd:keep_ratio=0.3,k=8,budget=0.7", "random") == "random:budget=0.7,keep_ratio=0.3"
    assert baseline_of("slower/rrd:budget=0.7", "random") == "random:budget=0.7"
    assert baseline_of("rrd:budget=0.7", "full") == "full"
