"""What a keep ratio stands for, worked by hand."""

from __future__ import annotations

import pytest

from dynsel.samplers.planning import fed, small_last_batch, steps_by_epoch
from dynsel.selectors import GSTDS, JEST, Random, RandomInBatch, SelectiveBackprop


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        (Random(), (30, None)),
        # Any number of samples may come of it, so that all of them bound the length.
        (JEST(), (100, 33)),
        (SelectiveBackprop(shrink=True), (100, None)),
        (RandomInBatch(), (30, None)),
        (GSTDS(shrink=True), (30, 3)),
    ],
)
def test_what_an_epoch_feeds(selector, wanted):
    assert fed(selector, 0.3, num_samples=100, batch_size=10) == wanted


def test_steps_follow_progress_until_the_limit():
    assert steps_by_epoch(lambda progress: 4 if progress < 0.5 else 2, 4) == [4, 4, 2, 2]
    assert steps_by_epoch(lambda progress: 5, 3, steps=lambda batches: -(-batches // 2)) == [3, 3, 3]
    seen = []
    assert steps_by_epoch(lambda progress: seen.append(progress) or 3, 10, max_steps=7) == [3, 3, 1]
    assert seen == [0.0, 3 / 7, 6 / 7]


@pytest.mark.parametrize(
    ("samples", "ranks", "wanted"),
    [(64, 1, 0), (65, 1, 1), (67, 1, 3), (68, 1, 0), (95, 1, 0), (130, 2, 1), (35, 1, 3)],
)
def test_a_last_batch_under_an_eighth_is_small(samples, ranks, wanted):
    assert small_last_batch(samples, ranks, 32) == wanted
