"""The term `doubt`: the excess of loss over entropy by hand, and wrong labels in a training."""

from __future__ import annotations

import math

import pytest
import torch
from support import fit, train_loader
from torch.nn.functional import cross_entropy

from dynsel import DynamicSelection
from dynsel.selectors import Feedback, Hybrid
from dynsel.selectors.terms import Doubt


def test_the_excess_is_smoothed_and_never_a_bonus():
    term = Doubt(smoothing=0.75)
    term.bind(4)
    for losses in ([2.0, 0.1, math.nan], [4.0, 0.1, math.nan]):
        told = Feedback(torch.arange(3), per_sample_loss=torch.tensor(losses), value=torch.tensor([1.0, 0.5, 0.5]))
        term.learn(told)
    excess = 0.75 * 1.0 + 0.25 * 3.0
    assert term.values(torch.zeros(4)).tolist() == pytest.approx([math.exp(-excess), 1, 1, 1])
    assert term.average.dtype == torch.float32
    assert term.average[2:].isnan().all()


def test_right_labels_of_a_calibrated_model_are_not_doubted_however_hard():
    """Labels drawn from the model's own probabilities, many uses: the mean excess is 0 for easy and hard alike."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 5, generator=generator) * torch.linspace(0, 4, 60)[:, None]
    entropies = Hybrid().measure(logits, None, None)
    term = Doubt(smoothing=0.99)
    term.bind(60)
    for _ in range(400):
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        losses = cross_entropy(logits, labels, reduction="none")
        term.learn(Feedback(torch.arange(60), per_sample_loss=losses, value=entropies))
    assert float(term.values(torch.zeros(60)).min()) > 0.8


def test_what_losses_stand_in_for_is_not_doubted():
    term = Doubt()
    term.bind(2)
    losses = torch.tensor([5.0, 0.1])
    term.learn(Feedback(torch.arange(2), per_sample_loss=losses, value=losses))
    assert term.values(torch.zeros(2)).tolist() == [1, 1]
    term.learn(Feedback(torch.arange(2), per_sample_loss=losses))
    assert term.values(torch.zeros(2)).tolist() == [1, 1]


def test_it_keeps_wrong_labels_out_of_uncertain_samples():
    """All are equally uncertain; a third has a label that the model contradicts."""
    selector = Hybrid(terms={"uncertainty": 1.0, "doubt": 0.5}, gamma=0.0, epsilon=0.0, seed=0)
    selector.bind(90)
    wrong = torch.arange(90) % 3 == 0
    entropies = torch.rand(90, generator=torch.Generator().manual_seed(0)) / 100 + 0.5
    told = Feedback(torch.arange(90), value=entropies, per_sample_loss=torch.where(wrong, 3.0, 0.5))
    selector.observe(told)
    chosen = selector.select(0.5, 40).indices
    assert float(wrong[chosen].float().mean()) < 0.2  # a third of all


def test_training_tells_it_losses_and_entropies():
    selector = Hybrid(terms={"uncertainty": 1.0, "doubt": 0.5})
    fit(DynamicSelection(selector, keep_ratio=0.5), loader=train_loader(), max_epochs=3)
    average = selector.terms["doubt"].average
    assert average.isfinite().all()
    assert average.unique().numel() > 10


@pytest.mark.parametrize("smoothing", [1.0, -0.1])
def test_wrong_arguments(smoothing):
    with pytest.raises(ValueError, match=r"`smoothing` must be in \[0, 1\), got"):
        Doubt(smoothing)
