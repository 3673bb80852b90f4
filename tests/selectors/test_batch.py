"""Selectors inside the batch: what every one of them does with what a subclass decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynsel.selection import top_k
from dynsel.selectors import BatchSelector, CandidateSelector


class Last(BatchSelector):
    """Keeps the last candidates."""

    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        return torch.arange(len(candidates))[-count:]


class Hardest(CandidateSelector):
    """Goes by the loss itself."""

    def scores(self, candidates: Tensor, losses: Tensor) -> Tensor:
        return losses

    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        return top_k(scores, count)


class Lazy(Hardest):
    """Keeps one too few."""

    def choose(self, scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
        return torch.arange(count - 1)


def test_an_epoch_is_chosen_batch_by_batch():
    selector = Last()
    selector.bind(6)
    kept = selector.select_batches([torch.tensor([4, 2, 0]), torch.tensor([5, 1])], [2, 1], 0.0)
    assert [rows.tolist() for rows in kept] == [[1, 2], [1]]
    assert selector.select(0.0, 2).indices.tolist() == [4, 5]  # the whole set as one batch
    assert selector.select(0.0, 6).indices.tolist() == list(range(6))


def test_every_sample_is_a_candidate():
    selector = Hardest()
    selector.bind(5)
    assert selector.select(0.0, 2).indices.tolist() == list(range(5))
    assert not selector.exact


def test_the_highest_finite_losses_stay():
    losses = torch.tensor([1.0, torch.nan, 3.0, torch.inf, 2.0], requires_grad=True)
    kept = Hardest().keep(torch.arange(5), losses, 2, torch.Generator())
    assert kept.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("selector", "count", "message"),
    [
        (Hardest(), 0, "`count` must be between 1 and the number of candidates, 3, got 0"),
        (Hardest(), 4, "`count` must be between 1 and the number of candidates, 3, got 4"),
        (Hardest(), 3, "only 2 of 3 candidates have a finite loss and 3 are to be kept: training has diverged"),
        (Lazy(), 2, "must"),
    ],
)
def test_what_can_not_be_kept(selector, count, message):
    with pytest.raises(ValueError, match=message):
        selector.keep(torch.arange(3), torch.tensor([1.0, torch.nan, 2.0]), count, torch.Generator())
