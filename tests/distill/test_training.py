"""The training of a small classifier: repeated to the bit, rates by the recipe, predictions by definition."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from dynsel.distill._training import Recipe, accuracy, predict, train_classifier

RECIPE = Recipe(
    epochs=4,
    batch_size=16,
    lr=0.1,
    optimizer="sgd",
    weight_decay=0.0,
    milestones=(0.5,),
    lr_factor=0.0,
    augment="",
    cutmix=False,
)
IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES.mean((1, 2, 3)) > 0.5).long()
TARGETS = nn.functional.one_hot(LABELS, 2).float()


def trained(seed: int = 0, **changes: object) -> tuple[nn.Module, list[torch.Tensor]]:
    """A linear classifier, and its weights after each epoch."""
    torch.manual_seed(1)
    network, steps = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), []

    def note(epoch: int) -> None:
        steps.append(network[1].weight.detach().clone())

    recipe = dataclasses.replace(RECIPE, **changes)
    train_classifier(network, IMAGES, TARGETS, nn.Identity(), recipe, seed, after_epoch=note)
    return network, steps


def test_after_a_milestone_the_rate_has_its_factor():
    _, steps = trained()
    assert not torch.equal(steps[0], steps[1])
    assert torch.equal(steps[1], steps[2])  # a factor of 0: nothing moves any more
    assert torch.equal(steps[2], steps[3])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_seed_decides(optimizer):
    one, again, other = (trained(seed, optimizer=optimizer, cutmix=True)[1][-1] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_it_learns():
    network, _ = trained(epochs=60, lr=1.0, lr_factor=1.0)
    assert accuracy(network, IMAGES, LABELS, nn.Identity()) > 0.9
    logits = predict(network, IMAGES, nn.Identity())
    torch.testing.assert_close(logits, network(IMAGES))
    wanted = float((logits.argmax(1) == LABELS).float().mean())
    assert accuracy(network, IMAGES, LABELS, nn.Identity()) == pytest.approx(wanted)
