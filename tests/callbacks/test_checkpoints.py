"""What checkpoints hold too much of, and too little."""

from __future__ import annotations

import pytest

from dynsel.callbacks.checkpoints import forget_loader_state, warn_of_gradients


def checkpoint(states: list[object]) -> dict[str, object]:
    return {"loops": {"fit_loop": {"state_dict": {"combined_loader": states, "other": 1}}}}


@pytest.mark.parametrize(("states", "stays"), [([], False), ([{}], False), ([{}, {"a": 1}], True)])
def test_only_an_empty_loader_state_goes(states, stays):
    saved = checkpoint(states)
    forget_loader_state(saved)
    left = saved["loops"]["fit_loop"]["state_dict"]
    assert ("combined_loader" in left) is stays
    assert left["other"] == 1


def test_a_checkpoint_without_loops_is_fine():
    saved: dict[str, object] = {}
    forget_loader_state(saved)
    assert saved == {}


def test_the_way_out_is_named():
    with pytest.warns(UserWarning, match="accumulate_grad_batches=3 save after every multiple of 3 batches"):
        warn_of_gradients(3)
