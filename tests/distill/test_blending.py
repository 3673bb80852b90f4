"""Networks between the beginning and the end of their training, weight by weight."""

from __future__ import annotations

import pytest
import torch

from dynsel.distill.blending import LoadedPool, copy_weights
from dynsel.distill.convnet import ConvNet


def network(value: float) -> ConvNet:
    made = ConvNet(2, (1, 8, 8), width=4, depth=1)
    for weight in made.parameters():
        torch.nn.init.constant_(weight, value)
    return made


@pytest.fixture
def pool() -> LoadedPool:
    """Two networks: all weights 1 then 3, and 5 then 9."""
    parts = [
        {**copy_weights(network(first), "init"), **copy_weights(network(last), "trained")}
        for first, last in ((1.0, 3.0), (5.0, 9.0))
    ]
    return LoadedPool(network(0.0), {name: torch.stack([part[name] for part in parts]) for name in parts[0]})


@pytest.mark.parametrize(("number", "share", "value"), [(0, 1.0, 1.0), (0, 0.25, 2.5), (1, 0.0, 9.0), (1, 0.5, 7.0)])
def test_a_blend_is_the_line_between_both_ends(pool, number, share, value):
    assert all(bool((weight == value).all()) for weight in pool.blend(number, share).parameters())
    assert len(pool) == 2


def test_the_trained_one_is_another_network(pool):
    blended = pool.blend(0, 1.0)
    trained = pool.trained(1)
    assert trained is not blended
    assert {float(w.flatten()[0]) for w in blended.parameters()} == {1.0}
    assert {float(w.flatten()[0]) for w in trained.parameters()} == {9.0}
    assert not any(w.requires_grad for w in (*blended.parameters(), *trained.parameters()))


def test_copies_stay_when_training_goes_on():
    net = network(2.0)
    kept = copy_weights(net, "init")
    torch.nn.init.zeros_(next(net.parameters()))
    assert all(name.startswith("init.") and bool((value == 2).all()) for name, value in kept.items())
