"""Greedy orders: a smaller subset is the beginning of a larger one, in each class, as far as the order goes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynsel.selectors.greedy import GreedySelector, centred


class Largest(GreedySelector):
    """Takes the rows of largest first column."""

    @staticmethod
    def order(rows: Tensor, count: int) -> Tensor:
        return rows[:, 0].argsort(descending=True)[:count]


X = torch.tensor([[1.0], [9.0], [3.0], [7.0], [5.0], [8.0]])
LABELS = torch.tensor([0, 0, 0, 0, 1, 1])


def fitted(labels: Tensor | None = LABELS, **options: object) -> Largest:
    selector = Largest(seed=0, **options)
    selector.bind(len(X), labels)
    selector.fit(X)
    return selector


def test_each_class_has_its_own_order():
    selector = fitted()
    assert [selector.select(0.0, size).indices.tolist() for size in (3, 6)] == [[1, 3, 5], [0, 1, 2, 3, 4, 5]]
    assert selector.place.tolist() == [3, 0, 2, 1, 1, 0]


def test_all_samples_together():
    assert fitted(class_balance=False).select(0.0, 3).indices.tolist() == [1, 3, 5]


def test_the_order_ends_at_the_largest_keep_ratio():
    selector = fitted(class_balance=False, max_keep_ratio=0.5)
    assert sorted(selector.place.tolist()) == [0, 1, 2, 6, 6, 6]
    with pytest.raises(ValueError, match=r"`max_keep_ratio` must cover the keep ratio.* are ordered, 4"):
        selector.select(0.0, 4)


def test_there_is_no_order_before_features():
    selector = Largest(class_balance=False)
    selector.bind(6)
    with pytest.raises(RuntimeError, match="Largest has no scores before `fit`"):
        selector.scores(0.0)
    assert len(selector.select(0.0, 3).indices) == 3  # random rotation


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e14])
def test_centred_rows_have_squares(scale):
    rows = centred(scale * torch.tensor([[1.0, 2.0], [3.0, -2.0]]))
    torch.testing.assert_close(rows, torch.tensor([[-0.5, 1.0], [0.5, -1.0]]))
