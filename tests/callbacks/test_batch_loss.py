"""The loss that `training_step` returned, whatever form it has."""

from __future__ import annotations

import pytest
import torch

from dynsel.callbacks.batch_loss import returned_loss


@pytest.mark.parametrize("outputs", [torch.tensor(2.0, requires_grad=True), {"loss": torch.tensor([2.0])}])
def test_it_is_a_scalar_without_gradient_and_before_accumulation(outputs):
    loss = returned_loss(outputs, 4, "BLS")
    assert (float(loss), loss.shape, loss.requires_grad) == (8.0, (), False)


def test_a_skipped_batch_has_none():
    assert returned_loss(None, 1, "BLS") is None


@pytest.mark.parametrize("outputs", [{"logits": torch.ones(3)}, torch.ones(3), 2.0])
def test_without_a_loss_it_says_who_asks(outputs):
    with pytest.raises(RuntimeError, match="BLS goes by the losses of batches, and `training_step` returned none"):
        returned_loss(outputs, 1, "BLS")
