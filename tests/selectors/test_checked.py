"""What selectors return is checked by name, before anybody builds on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.selection import Selection
from dynsel.selectors import Selector, checked_selection
from dynsel.selectors.checked import check_sample_features, checked_scores


class Given(Selector):
    """Selects what it is given."""

    def __init__(self, given: object, exact: bool = True) -> None:
        super().__init__()
        self.given, self.exact = given, exact

    def select(self, progress: float, size: int) -> Selection:
        return self.given


def selected(given: object, size: int = 2, *, exact: bool = True) -> Selection:
    selector = Given(given, exact)
    selector.bind(5)
    return checked_selection(selector, 0.5, size)


def test_what_is_right_passes_as_it_is():
    given = Selection(torch.tensor([4, 0]), torch.tensor([1.0, 2.0]))
    assert selected(given) is given
    assert len(selected(Selection(torch.arange(5)), exact=False).indices) == 5
    assert len(selected(Selection(torch.zeros(0, dtype=torch.int64))).indices) == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.arange(2), TypeError, r"`Given.select` must return a dynsel.selection.Selection, got Tensor"),
        (Selection(torch.tensor([0, 5])), ValueError, r"positions in 0 \.\. 4, got 0 \.\. 5"),
        (Selection(torch.tensor([-1, 2])), ValueError, r"positions in 0 \.\. 4, got -1 \.\. 2"),
        (Selection(torch.tensor([3, 3])), ValueError, "must return each sample at most once"),
        (Selection(torch.arange(3)), ValueError, "must return the 2 samples asked for, got 3; a selector that decides"),
    ],
)
def test_what_is_wrong_is_named(given, error, message):
    with pytest.raises(error, match=message):
        selected(given)


@pytest.mark.parametrize(
    "scores", [[1, 2, 3], np.array([1, 2, 3]), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float16, requires_grad=True)]
)
def test_scores_are_taken_for_what_they_mean(scores):
    found = checked_scores("Mine.scores", scores, 3)
    assert found.tolist() == [1, 2, 3]
    assert found.is_floating_point()
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ([1, 2], ValueError, r"`Mine.scores` must return one number per sample, shape \(3,\), got \(2,\)"),
        ("text", TypeError, r"`Mine.scores` must return an \(N,\) tensor, got str"),
        (torch.ones(3, dtype=torch.complex64), TypeError, "must return real numbers, got torch.complex64"),
        ([float("nan")] * 3, ValueError, "returned NaN for every sample; what isn't known yet needs a number"),
    ],
)
def test_scores_that_are_none(scores, error, message):
    with pytest.raises(error, match=message):
        checked_scores("Mine.scores", scores, 3)


def test_features_have_a_row_for_each_sample():
    check_sample_features(torch.ones(3, 2), 3)
    with pytest.raises(ValueError, match="`features` must have one row per sample: expected 4, got 3"):
        check_sample_features(torch.ones(3, 2), 4)
