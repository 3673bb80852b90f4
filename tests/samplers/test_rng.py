"""Random states: the same draws after a restart, checked before any of them is set."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from dynsel.samplers.rng import RandomStates, check_rng_state, get_rng_state, set_rng_state


def draws(generator: torch.Generator) -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002
        np.random.randn(),  # noqa: NPY002
        float(torch.rand(())),
        float(torch.rand((), generator=generator)),
    ]


def test_everything_draws_the_same_again():
    own = torch.Generator().manual_seed(3)
    draws(own)  # of normal draws the second one waits in the state
    saved = io.BytesIO()
    torch.save(get_rng_state([own]), saved)
    wanted = draws(own)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    check_rng_state(state)
    for generators in ([own], [own, torch.Generator()]):
        set_rng_state(state, generators)
        assert draws(own) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": torch.zeros(3, dtype=torch.uint8)}, "`torch` of the random numbers can't be read"),
        ({"random": [3, [1, 2], None]}, "`random` of the random numbers can't be read"),
        ({"numpy": ["MT19937"]}, "`numpy` of the random numbers can't be read"),
        ({"generators": [5]}, "`generators` of the random numbers can't be read"),
        ({"more": 1}, "the state of the random numbers has `more`, which isn't known"),
    ],
)
def test_a_damaged_state_changes_nothing(change, message):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        check_rng_state({**get_rng_state(), **change})
    assert torch.equal(torch.get_rng_state(), before)


class Loader:
    """Notes what a loader is told."""

    generators: tuple[torch.Generator, ...] = ()

    def __init__(self) -> None:
        self.told: list[str] = []

    def keep_rng(self) -> None:
        self.told.append("keep")

    def resume(self, rng: object) -> None:
        self.told.append("resume")


def test_a_state_waits_for_its_place_and_is_used_once():
    states, loader = RandomStates(), Loader()
    torch.manual_seed(5)
    saved = RandomStates.state_dict(None)
    wanted = float(torch.rand(()))
    torch.manual_seed(6)
    states.load_state_dict(saved)
    states.restore(loader)
    assert float(torch.rand(())) == wanted
    states.restore(loader)
    states.hand_over(loader)
    assert loader.told == ["keep"]
    states.load_state_dict(saved)
    states.hand_over(loader)
    states.restore(None)
    assert loader.told == ["keep", "resume"]
