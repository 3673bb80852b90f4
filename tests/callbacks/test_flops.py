"""Operations are counted on one batch, per sample, and then no more."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dynsel.callbacks.flops import FlopCounter
from dynsel.samplers.epoch_record import Books

NET, X = nn.Linear(3, 5), torch.ones(4, 3)


def test_training_and_scoring_are_counted_once_per_sample():
    books = Books()
    flops = FlopCounter(books, wanted=True)
    flops.begin_batch(NET)
    NET(X).sum().backward()
    flops.end_batch(4)
    with flops.scoring(NET, 2):
        NET(X[:2])
    assert books.trained_flops == 2 * (2 * 3 * 5)  # forward, and backward by the weights
    assert books.scored_flops == 2 * 3 * 5
    flops.begin_batch(NET)
    with flops.scoring(NET, 2):
        NET(X)
    flops.end_batch(4)
    assert (books.trained_flops, books.scored_flops) == (60, 30)


def test_unwanted_or_compiled_nothing_is_counted():
    for wanted, module in ((False, NET), (True, torch.compile(NET))):
        books = Books()
        flops = FlopCounter(books, wanted=wanted)
        flops.begin_batch(module)
        with flops.scoring(module, 4):
            NET(X)
        flops.end_batch(4)
        assert (books.trained_flops, books.scored_flops) == (None, None)


def test_a_copy_counts_nothing_under_way():
    flops = FlopCounter(Books(), wanted=True)
    flops.begin_batch(NET)
    twin = copy.deepcopy(flops)
    NET(X)
    twin.end_batch(4)
    flops.close()
    flops.end_batch(4)
    assert twin.books.trained_flops is None
    assert flops.books.trained_flops is None
