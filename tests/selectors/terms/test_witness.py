"""Witness: its choice closes the gap of the characteristic functions."""

from __future__ import annotations

import torch
from clusters import three_blobs

from dynsel.cfd import cfd, characteristic_sums
from dynsel.selectors.terms import Material, Witness


def test_witness_closes_the_gap():
    """Training on a third of the data so far: the samples it asks for bring the characteristic function nearest."""
    features, labels = three_blobs(300)
    term = Witness(256)
    term.fit(Material(features, None, None, 0))
    usage = (labels == 0).int()
    chosen = term.values(usage).argsort(descending=True)[:60]

    def distance(extra: torch.Tensor) -> float:
        now = characteristic_sums(features, term.frequencies, usage.float() + extra).value()
        return float(cfd(term.target, now))

    picked = distance(torch.zeros(300).index_fill(0, chosen, 1.0))
    others = [
        distance(
            torch.zeros(300).index_fill(0, torch.randperm(300, generator=torch.Generator().manual_seed(s))[:60], 1)
        )
        for s in range(20)
    ]
    assert picked < min(others)
    assert not term.values(torch.zeros(300).int()).any()
