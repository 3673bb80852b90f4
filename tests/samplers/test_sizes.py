"""Keep ratio and budget applied to the batches of a loader, by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from dynsel.samplers.driver import PlainDriver
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sizes import Sizes
from dynsel.schedules import Constant, Linear
from dynsel.selectors import Full, Random

N, B = 40, 4


def sampler() -> SelectionSampler:
    made = SelectionSampler(TensorDataset(torch.arange(N)), seed=0)
    made.make_batches(B, False)
    return made


def test_without_a_budget_an_epoch_is_its_selection():
    sizes, feeds = Sizes(Random(), Linear(1.0, 0.5)), sampler()
    sizes.lay_out(feeds)
    assert feeds.epoch_batches is None
    assert [sizes.fed(p, feeds).samples for p in (0.0, 0.5, 1.0)] == [40, 30, 20]
    assert sizes.plan(feeds, 3) == [10, 9, 7]  # 40, 33 and 27 samples in batches of 4
    assert sizes.progress(2, 5, PlainDriver(4)) == 0.5
    assert sizes.rest is None


@pytest.mark.parametrize(("budget", "batches"), [(1.0, 10), (0.5, 5), (0.01, 1)])
def test_with_a_budget_every_epoch_has_its_length(budget, batches):
    sizes, feeds = Sizes(Random(), Constant(0.5), budget), sampler()
    sizes.lay_out(feeds)
    assert feeds.epoch_batches == batches
    assert sizes.plan(feeds, 3) == [batches] * 3
    assert sizes.plan(feeds, 3, max_steps=batches + 1) == [batches, 1]  # training ends there


def test_a_round_takes_its_share_and_leaves_the_rest_to_the_next():
    sizes, feeds = Sizes(Random(), Constant(0.25), 1.0), sampler()
    sizes.lay_out(feeds)
    assert [sizes.rounds.take(0.25) for _ in range(4)] == [3, 2, 3, 2]  # of ten batches a quarter each
    sizes.restart()
    assert sizes.rest == 0
    sizes.take_up(0.5)
    assert sizes.rest == 0.5


def test_what_takes_what_it_wants_has_full_rounds():
    sizes, feeds = Sizes(Full(), Constant(0.5), 1.0), sampler()
    sizes.lay_out(feeds)
    assert sizes.fed(0.0, feeds).samples == N
    assert sizes.taken(0.0, feeds, 30) == 30


@pytest.mark.parametrize(
    ("ratio", "drop_last", "asked", "trained"),
    # 40 samples in batches of 4 on two ranks: whole batches are 8, 16, ... samples.
    [(0.3, False, 12, 8), (0.4, False, 16, 16), (0.1, False, 4, 4), (0.1, True, 8, 8), (1.0, False, 40, 40)],
)
def test_a_subset_that_stays_the_same_is_cut_to_whole_batches(ratio, drop_last, asked, trained):
    feeds = SelectionSampler(TensorDataset(torch.arange(N)), seed=0, num_replicas=2)
    feeds.make_batches(B, drop_last)
    sizes = Sizes(Random(static=True), Constant(ratio), 1.0)
    sizes.lay_out(feeds)
    for _ in range(3):
        assert sizes.fed(0.0, feeds).samples == asked
        assert sizes.whole_batches(asked, feeds) == trained
        sizes.begin_round(0.0, feeds)
    # Others are asked for whole batches, and without rounds an epoch may end in part of one.
    assert Sizes(Random(), Constant(ratio), 1.0).whole_batches(13, feeds) == 13
    assert Sizes(Random(static=True), Constant(ratio)).whole_batches(13, feeds) == 13


def test_of_what_was_drawn_the_share_is_taken():
    assert Sizes(Random(), Constant(0.3)).taken(0.0, sampler(), 10) == 3
