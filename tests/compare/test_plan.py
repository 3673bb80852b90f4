"""Which runs a comparison has, and where its results go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dynsel.compare.plan import Plan
from dynsel.compare.queue import Run

STORE = SimpleNamespace(steps=100)


def plan(**options: object) -> Plan:
    return Plan(["full", "rrd"], [0, 1], "val_loss", Path("out"), "dynsel compare", **options)


def test_the_runs_of_a_seed_follow_one_another():
    assert plan().runs(STORE, {"rrd": 40}) == [
        Run("full", 0, 100),
        Run("rrd", 0, 40),
        Run("full", 1, 100),
        Run("rrd", 1, 40),
    ]


def test_full_data_has_every_length_once():
    assert plan().runs_of_full_data(STORE, (0.001, 0.5, 0.502)) == [
        Run("full", seed, steps) for seed in (0, 1) for steps in (1, 50)
    ]


@pytest.mark.parametrize(
    ("equal", "folder"), [("steps", "out"), ("samples", "out/equal-samples"), ("seconds", "out/equal-seconds")]
)
def test_results_of_other_budgets_have_their_own_folder(equal, folder):
    assert plan(equal=equal).results == Path(folder)
