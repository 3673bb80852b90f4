"""Selectors by the losses of training: one average per sample, gaps passed over."""

from __future__ import annotations

import pytest
import torch

from dynsel.selection import Selection
from dynsel.selectors import Feedback
from dynsel.selectors.loss_selector import LossSelector


class Mine(LossSelector):
    """Selects everything."""

    def select(self, progress: float, size: int) -> Selection:
        return Selection(torch.arange(self.num_samples))


def test_losses_are_averaged_as_told():
    selector = Mine(smoothing=0.25)
    selector.bind(3)
    assert selector.average.isnan().all()
    selector.observe(Feedback(torch.tensor([0, 1]), per_sample_loss=torch.tensor([4.0, torch.nan])))
    selector.observe(Feedback(torch.tensor([0]), per_sample_loss=torch.tensor([8.0])))
    selector.observe(Feedback(torch.tensor([2])))
    assert float(selector.average[0]) == 0.25 * 4 + 0.75 * 8
    assert selector.average[1:].isnan().all()
    assert selector.usage.tolist() == [2, 1, 1]


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_the_old_average_is_a_share(smoothing):
    with pytest.raises(ValueError, match=r"`smoothing` must be in \[0, 1\), got"):
        Mine(smoothing=smoothing)
