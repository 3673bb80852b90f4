"""BLS: the moving averages by hand, and that the mean over many batches tells samples apart."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from dynsel.selectors import BLS, Feedback, Hybrid, InfoBatch


def test_the_score_is_the_moving_average_of_the_batches_losses():
    selector = BLS(smoothing=0.75, seed=0)
    selector.bind(3)
    for indices, loss in (([0, 1], 4.0), ([0, 2], 2.0), ([1, 2], 8.0)):
        selector.observe(Feedback(torch.tensor(indices), batch_loss=torch.tensor(loss).expand(2)))
    assert selector.average.tolist() == [0.75 * 4 + 0.25 * 2, 0.75 * 4 + 0.25 * 8, 0.75 * 2 + 0.25 * 8]


def test_it_chooses_as_infobatch_does_by_these_scores():
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0))
    ours, theirs = BLS(seed=4), InfoBatch(seed=4)
    for selector, part in ((ours, "batch_loss"), (theirs, "per_sample_loss")):
        selector.bind(50)
        selector.observe(Feedback(torch.arange(50), **{part: scores}))
    a, b = ours.select(0.3, 10), theirs.select(0.3, 10)
    assert torch.equal(a.indices, b.indices)
    assert torch.equal(a.weights, b.weights)


def test_company_averages_out():
    """With batches drawn anew, scores order samples as their own losses do."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(64, generator=generator)
    selector = BLS(smoothing=0.99, seed=0)
    selector.bind(64)
    for _ in range(400):
        for part in torch.randperm(64, generator=generator).split(8):
            selector.observe(Feedback(part, batch_loss=losses[part].mean().expand(8)))
    assert spearmanr(selector.average, losses).statistic > 0.8


def test_it_is_a_term_of_hybrid_too():
    selector = Hybrid(terms={"batch_loss": 1.0}, gamma=0.0, epsilon=0.0, seed=0)
    assert selector.wants == {"batch_loss"}
    assert selector.needs == ("batch losses",)
    selector.bind(4)
    selector.observe(Feedback(torch.arange(4), batch_loss=torch.tensor([1.0, 1.0, 3.0, 3.0])))
    assert selector.select(0.5, 2).indices.tolist() == [2, 3]


def test_the_smoothing_is_checked():
    with pytest.raises(ValueError, match="`smoothing` must be in"):
        BLS(smoothing=1.0)
