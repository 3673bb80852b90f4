"""Where an epoch stands."""

from __future__ import annotations

from itertools import product

import pytest

from dynsel.samplers.stage import Phase, Stage

STEPS = {
    "OFF": "AWAITED",
    "AWAITED": "DECIDED OFF OVER",
    "DECIDED": "RUNNING PINNED AWAITED OFF OVER",
    "PINNED": "RUNNING DECIDED AWAITED OFF OVER",
    "RUNNING": "ENDED PINNED DECIDED AWAITED OFF OVER",
    "ENDED": "RUNNING PINNED DECIDED AWAITED OFF OVER",
    "OVER": "OFF",
}


@pytest.mark.parametrize(("before", "after"), list(product(Phase, Phase)))
def test_an_epoch_takes_only_the_steps_of_the_table(before, after):
    wanted = before is after or after.name in STEPS[before.name].split()
    assert before.may_become(after) == wanted


def test_the_documented_table_names_every_phase():
    rows = [line.split("|") for line in (Phase.__doc__ or "").splitlines() if line.strip().startswith("|")]
    table = {row[1].strip(): row[3].replace(",", " ").split() for row in rows[2:]}
    assert set(table) == {phase.name for phase in Phase}
    for name, steps in table.items():
        assert set(steps) <= set(STEPS[name].split())


def test_a_step_out_of_order_is_a_clear_error():
    stage = Stage()
    stage.enter(Phase.OFF)
    with pytest.raises(RuntimeError, match="an epoch can't go from OFF to DECIDED; `set_epoch` and the loader do it"):
        stage.enter(Phase.DECIDED)


def test_batches_are_counted_whether_or_not_an_epoch_is_decided():
    stage = Stage()
    for phase in (Phase.DECIDED, Phase.OFF):
        stage.enter(phase)
        stage.start(2)
        stage.deliver()
        stage.deliver(3)
        assert stage.delivered == 6
        assert (stage.phase is Phase.RUNNING) == phase.selects
        stage.end()
        assert (stage.phase is Phase.ENDED) == phase.selects
