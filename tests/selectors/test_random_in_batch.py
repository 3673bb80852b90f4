"""Random in batch: every candidate as likely as any other."""

from __future__ import annotations

import torch
from scipy import stats

from dynsel.selectors import RandomInBatch


def test_every_candidate_is_as_likely():
    selector = RandomInBatch(seed=0)
    selector.bind(1)
    kept = [selector.select_batch(torch.arange(8), 3, 0.0) for _ in range(4000)]
    counts = torch.cat(kept).bincount(minlength=8)
    assert int(counts.sum()) == 12000
    # Without replacement the counts vary less than the test assumes, so a fair draw passes all the more.
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_draws_come_from_its_own_generator():
    def run() -> list[list[int]]:
        selector = RandomInBatch(seed=5)
        selector.bind(1)
        return [selector.select_batch(torch.arange(9), 4, 0.0).tolist() for _ in range(5)]

    first = run()
    torch.manual_seed(1)
    assert run() == first
    assert all(rows == sorted(rows) for rows in first)
    assert len({tuple(rows) for rows in first}) > 1
