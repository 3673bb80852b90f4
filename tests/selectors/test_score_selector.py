"""The samples of highest score: exactly as many as asked for, in each class, and some at random."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dynsel.selectors import ScoreSelector


class Given(ScoreSelector):
    """Has the scores that it is given."""

    def __init__(self, given: list[float], epsilon: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        self.given, self.epsilon = given, epsilon

    def scores(self, progress: float) -> Tensor:
        return torch.tensor(self.given)


def bound(given: list[float], labels: Tensor | None = None, **options: object) -> Given:
    selector = Given(given, class_balance=labels is not None, seed=0, **options)
    selector.bind(len(given), labels)
    return selector


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30), st.data())
def test_the_highest_are_taken_ties_to_the_lower(scores, data):
    size = data.draw(st.integers(1, len(scores)))
    wanted = sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:size])
    assert sorted(bound(scores).select(0.0, size).indices.tolist()) == wanted


def test_classes_keep_their_shares():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert bound([9.0, 8.0, 7.0, 6.0, 1.0, 2.0], labels).select(0.0, 3).indices.tolist() == [0, 1, 5]


@given(st.integers(0, 3), st.booleans(), st.integers(1, 20))
def test_a_share_is_drawn_from_all_others(seed, balanced, size):
    labels = torch.arange(20) % 2 if balanced else None
    selector = Given([float(i) for i in range(20)], epsilon=0.5, class_balance=balanced, seed=seed)
    selector.bind(20, labels)
    chosen = selector.select(0.0, size).indices.tolist()
    greedy = size - int(0.5 * size + 0.5)
    assert len(set(chosen)) == size
    if not balanced:
        assert set(range(20 - greedy, 20)) <= set(chosen)


def test_what_it_went_by_is_noted():
    selector = bound([1.0, 3.0])
    selector.select(0.0, 1)
    assert selector.notes.last_score.tolist() == [1.0, 3.0]
