"""Terms that rank what training tells: each by its own part of the feedback, the untold highest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dynsel.selectors import Feedback
from dynsel.selectors.terms import BatchLoss, Loss, Uncertainty


@pytest.mark.parametrize(
    ("kind", "part"), [(Loss, "per_sample_loss"), (BatchLoss, "batch_loss"), (Uncertainty, "value")]
)
def test_ranks_are_of_the_smoothed_numbers(kind, part):
    first, second = torch.tensor([0.4, 3.0, 1.0, 2.0]), torch.tensor([4.0, 0.2, torch.nan, 2.0])
    term = kind(smoothing=0.5)
    term.bind(5)
    for told in (first, second):
        term.learn(Feedback(torch.arange(4), **{part: told}))
    term.learn(Feedback(torch.arange(4)))  # nothing of its part
    mean = np.array([2.2, 1.6, 1.0, 2.0])
    values = term.values(torch.zeros(5, dtype=torch.int32))
    np.testing.assert_allclose(values[:4], (stats.rankdata(mean) - 0.5) / 4, rtol=1e-6)
    assert float(values[4]) == 1.0


@pytest.mark.parametrize("kind", [Loss, BatchLoss])
def test_the_highest_may_count_as_noise(kind):
    term = kind(smoothing=0.0, clip=0.25)
    term.bind(4)
    (part,) = kind.wants
    term.learn(Feedback(torch.arange(4), **{part: torch.tensor([1.0, 2.0, 3.0, 4.0])}))
    assert term.values(torch.zeros(4)).argsort().tolist() == [3, 0, 1, 2]
