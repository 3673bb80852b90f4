"""Neural witness: its choice brings training back to the floor."""

from __future__ import annotations

import torch
from clusters import three_blobs

from dynsel.cfd.neural import neural_cfd
from dynsel.selectors.terms import Material, NeuralWitness


def test_neural_witness_closes_the_gap():
    """Training on a third of the data so far: what it asks for brings training back to the floor, and comes first."""
    features, labels = three_blobs(300)
    term = NeuralWitness(256, steps=20)
    term.fit(Material(features, None, None, 0))
    usage = (labels == 0).int()
    values = term.values(usage)
    assert torch.equal(values, term.values(usage))
    assert float(values[labels != 0].min()) > float(values[labels == 0].max())
    chosen = values.argsort(descending=True)[:150]
    before, _ = neural_cfd(features, usage, steps=20)
    after, _ = neural_cfd(features, usage.index_fill(0, chosen, 1), steps=20)
    assert after.distance < before.distance / 5
    assert not term.values(torch.zeros(300).int()).any()
