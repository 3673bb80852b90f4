"""Region: what was trained on little comes first."""

from __future__ import annotations

import torch
from clusters import three_blobs

from dynsel.selectors.terms import Material, Region


def test_region_prefers_what_was_trained_on_little():
    features, labels = three_blobs()
    term = Region()
    term.fit(Material(features, None, None, 0))
    usage = torch.where(labels == 1, 0, 5).int()
    values = term.values(usage)
    assert float(values[labels == 1].min()) > float(values[labels != 1].max())
