"""The term `once`: one of each group, in turn, and few copies in a training."""

from __future__ import annotations

import pytest
import torch

from dynsel.data import DigitsDataModule
from dynsel.selectors import Feedback, Hybrid
from dynsel.selectors.terms import Once


def copied() -> torch.Tensor:
    """34 rows, of which 0, 30, 32 and 1, 31, 33 are the same."""
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    return torch.cat([rows, rows[:2], rows[:2]])


@pytest.mark.parametrize("terms", [{"once": 1.0}, {"uncertainty": 1.0, "once": 1.0}])
def test_one_stands_for_its_copies(terms: dict[str, float]) -> None:
    """Also beside a term that learns, for which never used samples go first: a copy isn't new."""
    selector = Hybrid(terms=terms, gamma=0.0, epsilon=0.0, seed=0)
    selector.bind(34)
    selector.fit(copied())
    for epoch in range(6):
        chosen = selector.select(epoch / 6, 15).indices
        told = torch.rand(len(chosen), generator=torch.Generator().manual_seed(epoch))
        selector.observe(Feedback(chosen, value=told))
    assert selector.usage[30:].tolist() == [0, 0, 0, 0]
    assert int(selector.usage[:30].min()) > 0 or terms == {"once": 1.0}


def test_copies_come_in_when_all_else_is_taken() -> None:
    selector = Hybrid(terms={"once": 1.0}, gamma=0.0, epsilon=0.0, seed=0)
    selector.bind(34)
    selector.fit(copied())
    assert set(range(30)) < set(selector.select(0.0, 32).indices.tolist())


def test_copies_of_digits_are_found_and_left():
    data = DigitsDataModule(duplicates=0.3)
    data.setup("fit")
    source = data.train_set.copy_of
    selector = Hybrid(terms={"once": 1.0}, gamma=0.0, epsilon=0.0, seed=0)
    selector.bind(len(source))
    selector.fit(data.train_set.images.flatten(1).float())
    chosen = selector.select(0.5, len(source) // 2).indices
    # Of those moved by two of eight pixels nobody can tell: two thirds of the copies are left.
    taken, copies = set(chosen.tolist()), (source != torch.arange(len(source))).nonzero()[:, 0].tolist()
    assert len(taken & set(copies)) < 0.5 * len(copies)
    random = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: len(chosen)]
    assert len(source[chosen].unique()) > len(source[random].unique()) + 30


def test_values_before_fit():
    term = Once()
    term.bind(3)
    with pytest.raises(RuntimeError, match="Once has no values before `fit`"):
        term.values(torch.zeros(3).int())
