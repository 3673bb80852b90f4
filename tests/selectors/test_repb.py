"""RePB: who is left out, how often, and what that makes the others weigh."""

from __future__ import annotations

import numpy as np
import torch

from dynsel.selectors import Feedback, RePB


def train(selector: RePB, losses: torch.Tensor, epochs: int, batch: int = 4) -> tuple[np.ndarray, list]:
    """Uses by epoch, (epochs, N) of 0 and 1, and the selections, in batches of the order of the samples."""
    selector.bind(len(losses))
    used, chosen = np.zeros((epochs, len(losses)), dtype=int), []
    for epoch in range(epochs):
        selection = selector.select(epoch / epochs, len(losses))
        used[epoch, selection.indices] = 1
        chosen.append(selection)
        for part in selection.indices.split(batch):
            told = losses[part]
            selector.observe(Feedback(part, per_sample_loss=told, batch_loss=told.mean().expand(len(part))))
    return used, chosen


def test_easy_is_what_is_below_the_mean_of_its_own_batch():
    """In a batch of high losses a sample is easy that is harder than all of another batch."""
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 11.0, 12.0, 13.0, 14.0])
    selector = RePB(seed=0)
    train(selector, losses, 1)
    assert (selector.average < 0).tolist() == [True, True, False, False] * 2
    assert selector.average.tolist() == [-1.5, -0.5, 0.5, 1.5] * 2


def test_weights_are_epochs_over_inclusions():
    losses = torch.rand(64, generator=torch.Generator().manual_seed(0))
    used, chosen = train(RePB(seed=1), losses, 12)
    for epoch, selection in enumerate(chosen):
        wanted = (epoch + 1) / used[: epoch + 1].sum(0)[selection.indices]
        np.testing.assert_allclose(selection.weights, wanted, rtol=1e-6)


def test_the_easy_are_back_with_the_rest_of_the_probability():
    """A pair in each batch, so that who is easy never changes while both are there; alone nobody is."""
    rho, epochs = 0.3, 2000
    selector = RePB(drop_probability=rho, seed=2)
    selector.bind(40)
    easy = torch.arange(40) % 2 == 0
    kept = np.zeros(40)
    for epoch in range(epochs):
        indices = selector.select(0.0, 40).indices
        kept[indices] += 1
        loss = torch.where(easy[indices], 1.0, 3.0)
        selector.observe(Feedback(indices, per_sample_loss=loss, batch_loss=torch.full_like(loss, 2.0)))
        if epoch == 0:
            kept[:] = 0  # nothing was known
    assert (kept[1::2] == epochs - 1).all()
    # 20 binomial shares.
    assert np.abs(kept[::2] / (epochs - 1) - (1 - rho)).max() < 5 * (rho * (1 - rho) / epochs) ** 0.5


def test_an_epoch_is_never_empty():
    selector = RePB(drop_probability=0.999, seed=0)
    selector.bind(3)
    selector.observe(Feedback(torch.arange(3), per_sample_loss=torch.ones(3), batch_loss=torch.full((3,), 2.0)))
    assert all(len(selector.select(0.5, 1)) for _ in range(20))


def test_what_a_round_cut_off_was_not_included():
    selector = RePB(seed=0)
    selector.bind(8)
    for _ in range(4):
        trained = selector.select(0.5, 8).indices[:4]  # the round ends here
        for part in trained.split(2):  # told of in parts
            selector.observe(Feedback(part, per_sample_loss=torch.ones(2), batch_loss=torch.ones(2)))
    selection = selector.select(0.5, 8)
    assert selector.included.tolist() == [4] * 4 + [0] * 4
    assert selection.weights.tolist() == [1.0] * 4 + [5.0] * 4


def test_a_sample_that_comes_up_twice_in_an_epoch_was_in_one():
    selector = RePB(seed=0)
    selector.bind(2)
    selector.select(0.0, 2)
    for _ in range(2):
        selector.observe(Feedback(torch.tensor([0, 0, 1])))
    assert selector.included.tolist() == [1, 1]
    assert selector.select(0.5, 2).weights.tolist() == [1.0, 1.0]
