"""A selector of a comparison as text, with what of its training differs."""

from __future__ import annotations

import pytest

from dynsel.compare.entry import Configured, baselines_of, method_of, parse_entry
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hybrid:budget=0.7,keep_ratio=0.3", "hybrid:keep_ratio=0.3,budget=0.7"),
        ("hybrid:budget=0.70,keep_ratio=.3", "hybrid:keep_ratio=3e-1,budget=0.7"),
        ("hybrid:budget=1,gamma=2", "hybrid:gamma=2.0"),
        ("hybrid:keep_ratio=0.5", "dynsel.selectors.Hybrid"),
        ('hybrid:terms={"loss":1,"once":1},noise=0', 'hybrid:noise=0,terms={"once":1.0,"loss":1}'),
        ("full:budget=1,keep_ratio=0.2", "full"),
        ("hybrid:budget=0.3", "hybrid:budget=0.3,keep_ratio=0.3"),
        ("slower/hybrid", "slower/hybrid:budget=1.0"),
    ],
)
def test_one_method_may_be_written_in_several_ways(one: str, other: str) -> None:
    assert method_of(one) == method_of(other)


@pytest.mark.parametrize("other", ["hybrid:budget=0.7", "hybrid:gamma=2", "hybrid:keep_ratio=0.3", "rrd", "full"])
def test_other_methods_are_told_apart(other: str) -> None:
    assert method_of("hybrid") != method_of(other)


def test_what_an_entry_does_not_say_is_the_configurations() -> None:
    configured = Configured.of({"selection.budget": 0.7, "selection.keep_ratio": 0.3, "metric": "val_accuracy"})
    assert method_of("rrd", configured) == method_of("rrd:budget=0.7,keep_ratio=0.3")
    assert method_of("full", configured) == method_of("full"), "it takes all steps whatever the configuration says"
    swinging = Configured.of({"selection.keep_ratio.class_path": "dynsel.schedules.Oscillating"})
    assert method_of("rrd", swinging) == method_of("rrd:budget=1", swinging) != method_of("rrd:keep_ratio=0.5")
    assert Configured.of({"selection.keep_ratio": None}) == Configured()


CASES = {
    "rrd:k=8": "random",
    "rrd:keep_ratio=0.30,k=8,budget=0.7": "random:budget=0.7,keep_ratio=0.3",
    "slower/rrd:budget=.7,keep_ratio=.3": "random:budget=0.7,keep_ratio=0.3",
    "random:class_balance=true": "random",
    "full": "random",
    "random-in-batch": "random",
}


def test_the_baseline_is_trained_alike() -> None:
    names = [*CASES, "random", "random:budget=0.7,keep_ratio=0.3", "slower/random", "rrd:budget=0.5"]
    of = baselines_of(names, "random")
    assert {name: of[name] for name in CASES} == CASES
    assert of["random"] == "random"
    assert "rrd:budget=0.5" not in of
    assert set(baselines_of(names, "full").values()) == {"full"}
    assert baselines_of(["rrd", "full:budget=0.7"], "full") == {}
    assert baselines_of(["rrd", "full:budget=1.0"], "full")["rrd"] == "full:budget=1.0"
    # The configuration's own values may be written out, or left out.
    configured = Configured(0.7, 0.3)
    assert baselines_of(["rrd", "random:keep_ratio=0.3,budget=0.7"], "random", configured)["rrd"].startswith("random:")
    assert baselines_of(["rrd:budget=0.7", "random"], "random", configured)["rrd:budget=0.7"] == "random"


def test_random_subsets_with_arguments_are_the_baseline_where_they_alone_are_there() -> None:
    static, stratified = "random:static=true,class_balance=true", "random:class_balance=true"
    assert baselines_of(["fast", static], "random") == dict.fromkeys(["fast", static], static)
    assert baselines_of(["fast", static, stratified, "random-in-batch"], "random") == {}, "which one is meant?"
    assert baselines_of(["fast", static, "random"], "random")["fast"] == "random"
    assert baselines_of(["gstds", "random-in-batch"], "random")["gstds"] == "random-in-batch"
    assert baselines_of(["gstds", "hybrid"], "random") == {}
