"""Which labels are suspected, and the estimate of how many are wrong, beside planted truths."""

from __future__ import annotations

import numpy as np
import pytest

from dynsel.samplers.findings.suspects import Suspects, densest, mirrored, suspects


def margins(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right labels win by 1 on average, wrong ones lose by 3."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(count) < share
    return np.where(wrong, generator.normal(-3, 1.2, count), generator.normal(1, 0.9, count)), wrong


def found_in(margin: np.ndarray, given: np.ndarray | None = None) -> Suspects | None:
    """Of three classes in turn, or those given; what loses is said to be the next class."""
    given = np.arange(len(margin)) % 3 if given is None else given
    return suspects(margin, given, np.where(margin < 0, (given + 1) % (given.max() + 1), given))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_planted_wrong_labels_are_found_and_counted(share: float) -> None:
    margin, wrong = margins(20_000, share)
    found = found_in(margin)
    precision = wrong[found.positions].mean()
    assert precision > 0.75
    assert wrong[found.positions].sum() > 0.9 * wrong.sum()
    assert found.chance[found.positions[-1]] == pytest.approx(precision, abs=0.05)


def test_where_nothing_is_wrong_few_are_suspected_and_none_is_expected() -> None:
    margin, _ = margins(20_000, 0.0)
    found = found_in(margin)
    assert len(found.positions) < 0.02 * len(margin)
    assert found.chance[found.positions[-1]] < 0.2


def test_the_most_suspicious_come_first_and_chances_fall() -> None:
    margin, _ = margins(3000, 0.2, seed=1)
    margin[:5] = np.nan
    found = found_in(margin)
    assert (np.diff(margin[found.positions]) >= 0).all()
    assert (np.diff(found.chance[found.positions]) <= 0).all()
    assert np.isnan(np.delete(found.chance, found.positions)).all()
    assert not set(found.positions.tolist()) & set(range(5))


def test_where_labels_do_not_win_nobody_is_suspected() -> None:
    assert found_in(np.array([-1.0, -2.0, -0.5, -0.1])) is None
    assert found_in(np.full(3, np.nan)) is None


def test_a_class_that_the_model_never_says_is_not_judged() -> None:
    """Class 2 is rare: its right labels lose, each by as much as a wrong label of the other classes."""
    margin, wrong = margins(4000, 0.05)
    given = np.arange(4000) % 2
    given[:60], margin[:60] = 2, -3.0
    said = np.where(margin < 0, 1 - given % 2, given)
    found = suspects(margin, given, said)
    assert found.unlearned == [2]
    assert not set(range(60)) & set(found.positions.tolist())
    assert wrong[found.positions].mean() > 0.75
    # Said for sixteen samples, a quarter of its own and more, it is judged.
    said[100:116] = 2
    assert suspects(margin, given, said).unlearned == []


def test_labels_lose_by_more_than_winning_ones_usually_win() -> None:
    """The median of 1, 2 and 30 is 2: a few margins without end don't raise the bar."""
    margin = np.array([1.0, 2.0, 30.0, -1.9, -2.1])
    assert found_in(margin, np.array([0, 0, 0, 0, 1])).positions.tolist() == [4]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_suspects_is_not_all_wrong(count: int) -> None:
    margin = np.concatenate([np.full(count, -4.0), np.random.default_rng(0).normal(1, 0.5, 1000)])
    found = found_in(margin)
    assert found.positions.tolist() == [*range(count)]
    assert found.chance[0] == pytest.approx(1 - 1 / count)


def test_the_mirror_by_hand() -> None:
    """About 1: one margin lies above 5.5, as far to the right as -3.5 to the left, and none above 6.5."""
    margin = np.array([-4.5, -3.5, *np.full(200, 1.0), 5.6, 0.9, 1.1])
    np.testing.assert_allclose(mirrored(margin, np.array([0, 1]))[:2], [0.0, 0.0])
    many = np.append(margin, [-4.0] * 8)  # none is above 6, so that of nine that low one may be right
    found = mirrored(many, np.array([0, *range(205, 213), 1]))
    np.testing.assert_allclose(found[[0, 205, 1]], [1 - 1 / 9, 1 - 1 / 9, 1 - 2 / 10])


def test_the_densest_place_is_that_of_the_majority() -> None:
    margin, _ = margins(20_000, 0.4)
    assert densest(margin) == pytest.approx(1, abs=0.15)
    assert densest(np.full(9, 2.5)) == 2.5
