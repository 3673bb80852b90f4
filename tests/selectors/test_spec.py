"""A selector written as text: its class, its arguments, and what is said about wrong ones."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from dynsel._lib.parsers import instantiate
from dynsel.selectors import Hybrid, Random, Selector
from dynsel.selectors.spec import parse_selector, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [(".5", 0.5), ("-.5", -0.5), ("1e-3", 0.001), ("7", 7), ("inf", "inf"), ("a.5", "a.5"), ("null", None)],
)
def test_values_as_they_are_written(text: str, value: Any) -> None:
    found = parse_value(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("random:clas_balance=true", "Random has no argument 'clas_balance'; did you mean 'class_balance'?"),
        ("random:seed", "'seed' must be argument=value, as in seed=1"),
        ("rrd:gamma=-1", "'rrd:gamma=-1': `gamma` must be at least 0, got -1.0"),
        (
            "hybrid:noise=x",
            "'hybrid:noise=x': Parser key \"selector.noise\":\n  Expected a <class 'float'>. Got value: x",
        ),
        ("random:class_balance=maybe", "Expected a <class 'bool'>. Got value: maybe"),
        ("randm:seed=1", "unknown selector 'randm'; did you mean 'random'"),
        ("dynsel.selectors.Randm", "(module 'dynsel.selectors' has no attribute 'Randm'); did you mean 'Random' or "),
        ('rrd:gamma={"class_path":"dynsel.schedules.Stepp"}', "has no attribute 'Stepp'"),
        (
            'rrd:gamma={"class_path":"dynsel.schedules.Step","init_args":{"values":[1,0],"milestones":[]}}',
            "`values` must have one entry more than `milestones`, got 2 and 0",
        ),
    ],
)
def test_wrong_arguments_of_a_selector(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_selector(spec)


@pytest.mark.parametrize(
    ("path", "why"),
    [("my_package.Nope", "No module named 'my_package'"), ("json.Nope", "module 'json' has no attribute 'Nope'")],
)
def test_of_a_class_path_only_what_failed_is_said(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'unknown selector {path!r} ({why})')}$"):
        parse_selector(path)


def test_commas_within_brackets_part_no_arguments() -> None:
    schedule = {"class_path": "dynsel.schedules.Step", "init_args": {"values": [1, 0.5, 0], "milestones": [0.2, 0.9]}}
    terms = {"loss": schedule, "rarity": 0.5}
    cls, arguments = parse_selector(f"hybrid:terms={json.dumps(terms)},gamma={json.dumps(schedule)},noise=0.1")
    assert cls is Hybrid
    assert arguments == {"terms": terms, "gamma": schedule, "noise": 0.1}


def test_terms_of_ones_own_and_schedules_in_yaml() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Selector, "selector")
    text = """
    selector:
      class_path: dynsel.selectors.Hybrid
      init_args:
        terms:
          uncertainty: 1.0
          dynsel.selectors.terms.region.Region:
            class_path: dynsel.schedules.Linear
            init_args: {start: 0.0, end: 0.3}
    """
    selector = instantiate(parser, parser.parse_string(text)).selector
    assert isinstance(selector, Hybrid)
    assert {name: weight(0.5) for name, weight in selector.weights.items()} == {
        "uncertainty": 1.0,
        "dynsel.selectors.terms.region.Region": 0.15,
    }
    with pytest.raises(ValueError, match="`terms` has the unknown term 'rarty'; did you mean 'rarity'"):
        parse_selector('hybrid:terms={"rarty":0.5}')


def test_arguments_are_read_as_in_a_configuration() -> None:
    assert parse_selector("random:class_balance=no")[1] == {"class_balance": False}
    untyped = f"{__name__}.Untyped"
    assert parse_selector(f"{untyped}:shares=[1, 2],name=x")[1] == {"shares": (1, 2), "name": "x"}
    with pytest.raises(ValueError, match=rf"'{re.escape(untyped)}:shares=\[\]': no shares"):
        parse_selector(f"{untyped}:shares=[]")


class Untyped(Random):
    """As users write them: no types, and errors of their own."""

    def __init__(self, shares=(1,), name=None):  # type: ignore[no-untyped-def]
        super().__init__()
        if not shares:
            raise TypeError("no shares")
