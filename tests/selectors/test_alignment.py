"""Losses of the last epochs, and their correlation with those of trusted samples."""

from __future__ import annotations

import pytest
import torch

from dynsel.selectors.alignment import alignment
from dynsel.selectors.terms import Trajectory


def test_no_epochs_are_no_alignment():
    assert alignment(torch.full((3, 2), torch.nan, dtype=torch.float64), torch.tensor([0])).isnan().all()


@pytest.mark.parametrize("window", [2, 1001])
def test_a_window_has_bounds(window):
    with pytest.raises(ValueError, match=r"`window` must be in \[3, 1000\], got"):
        Trajectory().remember(window)
