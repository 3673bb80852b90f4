"""What is said around a table: only of what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from reports import runs

from dynsel.compare.facts import conditions, energy_parts, meanings
from dynsel.compare.plan import Plan
from dynsel.compare.summary import summarise

PLAN = Plan(["full", "random", "rrd"], [0, 1], "val_accuracy", Path("out"), "dynsel compare --seeds 2")
STORE = SimpleNamespace(steps=120, settings={})
ROWS = summarise(runs())


def test_conditions_name_command_seeds_and_machine():
    said = dict(conditions(PLAN, STORE, ROWS, None))
    assert said["command"] == "`dynsel compare --seeds 2`"
    assert said["seeds"] == "0, 1 (n = 2)"
    assert "not at the best" in said["every run"]
    assert {"hardware", "versions", "date"} <= set(said)
    assert "full data" in dict(conditions(replace(PLAN, worth=True), STORE, ROWS, None))


def test_columns_are_explained_that_are_there():
    plain = {heading for heading, _ in meanings(PLAN, ROWS)}
    assert {"p", "verdict", "cost", "wall-clock"} <= plain
    assert not {"energy", "speed", "worth", "wrong labels"} & plain
    more = replace(PLAN, energy=True, target=0.9, worth=True)
    noisy = [replace(row, wrong_share=0.1) for row in ROWS]
    assert {"energy", "speed", "worth", "wrong labels"} <= {heading for heading, _ in meanings(more, noisy)}


def test_energy_is_of_what_was_asked_for():
    assert energy_parts(ROWS, None) == []
    assert energy_parts(ROWS, torch.device("cpu")) == ["CPU"]
    assert energy_parts(ROWS, torch.device("cuda")) == ["GPU", "CPU"]
    assert energy_parts([replace(ROWS[0], gpu_joules=1.0)], torch.device("cpu")) == ["GPU", "CPU"]
