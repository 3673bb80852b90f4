"""What is said around a table: only of what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from reports import runs

from dynsel._lib.provenance import hardware, today
from dynsel.compare.facts import conditions, energy_parts, meanings
from dynsel.compare.plan import Plan
from dynsel.compare.store import Store
from dynsel.compare.summary import summarise

PLAN = Plan(["full", "random", "rrd"], [0, 1], "val_accuracy", Path("out"), "dynsel compare --seeds 2")
STORE = SimpleNamespace(steps=120, settings={})
ROWS = summarise(runs())


def test_conditions_name_command_seeds_and_machine():
    said = dict(conditions(PLAN, STORE, ROWS, None, []))
    assert said["command"] == "`dynsel compare --seeds 2`"
    assert said["seeds"] == "0, 1 (n = 2)"
    assert "not at the best" in said["every run"]
    assert (said["hardware"], said["date"]) == (hardware(), today()), "nothing else is known"
    assert "dynsel" in said["versions"]
    assert "full data" in dict(conditions(replace(PLAN, worth=True), STORE, ROWS, None, []))


def test_the_machine_is_that_of_the_runs(tmp_path: Path):
    origins = [
        {"hardware": "GPU", "versions": "dynsel 0.1.0", "date": "2026-02-02", "command": "dynsel compare --seeds 1"},
        {"hardware": "CPU", "versions": "dynsel 0.1.0", "date": "2026-01-01"},
    ]
    there = [replace(run, origin=origins[run.seed]) for run in runs(seeds=2)]
    failed = replace(there[0], error="out of memory", origin={"hardware": "broken"})
    Store(tmp_path / "slower", {"lr": 1}).begin(120)
    other = replace(there[0], selector="slower/rrd", origin={"hardware": "slow"})
    plan = replace(PLAN, beside=(tmp_path / "slower",))
    said = dict(conditions(plan, STORE, ROWS, None, [*there, failed, other]))
    assert said["hardware"] == "GPU; CPU"
    assert said["versions"] == "dynsel 0.1.0"
    assert said["date"] == "2026-01-01; 2026-02-02"
    assert said["command"] == "`dynsel compare --seeds 2`", "of these tables, whatever made the runs"
    silent = dict(conditions(plan, STORE, ROWS, None, [there[0], replace(there[1], origin={})]))
    assert silent["hardware"] == f"GPU; {hardware()}"


def test_other_random_subsets_and_none_are_told():
    def said(*names: str) -> dict[str, str]:
        return dict(conditions(PLAN, STORE, summarise(runs(names)), None, []))

    assert not {"random", "not compared to random"} & set(said("full", "random", "rrd", "random:class_balance=true"))
    assert said("fast", "random:static=true")["random"] == "`random:static=true`"
    assert said("gstds", "random-in-batch")["random"] == "`random-in-batch`"
    alone = said("full", "random", "rrd", "rrd:budget=0.7", "hybrid:budget=0.7")["not compared to random"]
    assert alone.startswith("`rrd:budget=0.7`, `hybrid:budget=0.7`: no random subsets of the same budget")


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
