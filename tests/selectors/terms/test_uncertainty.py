"""Uncertainty: scipy's entropy, smoothed, and no chase of wrong labels."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import entropy

from dynsel.selectors import Feedback, Hybrid


def test_uncertainty_is_the_entropy_of_the_classes_smoothed():
    logits = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, -1.0], [9.0, -torch.inf, -torch.inf], [9.0, 4.0, -torch.inf]])
    selector = Hybrid(epsilon=0.0, gamma=0.0, smoothing=0.25, seed=0)
    selector.bind(4)
    told = selector.measure(logits, torch.tensor([2, 1, 1, 0]), None)
    np.testing.assert_allclose(told, entropy(logits.softmax(1).numpy(), axis=1), rtol=1e-6)
    assert float(told[2]) == 0
    everyone = torch.arange(4)
    selector.observe(Feedback(everyone, value=told))
    assert selector.select(0.5, 2).indices.tolist() == [0, 1]
    selector.observe(Feedback(everyone, value=told.flip(0)))
    expected = 0.25 * told + 0.75 * told.flip(0)
    torch.testing.assert_close(selector.terms["uncertainty"].average, expected)
    assert selector.select(0.5, 2).indices.tolist() == [2, 3]


def test_uncertainty_does_not_chase_wrong_labels():
    """Sure of 90 samples, a third of them labelled wrongly, and unsure of ten: only the loss prefers the former."""
    logits = torch.zeros(100, 2)
    logits[:90, 0] = 6.0
    wrong = torch.arange(100) < 30
    labels = torch.where(wrong, 1, 0)
    told = Hybrid().measure(logits, labels, None)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    taken = {}
    for name, terms in {"uncertainty": None, "loss": {"loss": 1.0}}.items():
        selector = Hybrid(terms=terms, epsilon=0.0, seed=0)
        selector.bind(100)
        selector.observe(Feedback(torch.arange(100), value=told, per_sample_loss=losses))
        taken[name] = selector.select(0.5, 10).indices
    assert taken["uncertainty"].tolist() == list(range(90, 100))
    assert wrong[taken["loss"]].all()
