"""Which labels are suspected, and the estimate of how many are wrong, beside planted truths."""

from __future__ import annotations

import numpy as np
import pytest

from dynsel.samplers.findings.suspects import densest, mirrored, suspects


def margins(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right labels win by 1 on average, wrong ones lose by 3."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(count) < share
    return np.where(wrong, generator.normal(-3, 1.2, count), generator.normal(1, 0.9, count)), wrong


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_planted_wrong_labels_are_found_and_counted(share: float) -> None:
    margin, wrong = margins(20_000, share)
    found = suspects(margin)
    precision = wrong[found.positions].mean()
    assert precision > 0.75
    assert wrong[found.positions].sum() > 0.9 * wrong.sum()
    assert found.chance[found.positions[-1]] == pytest.approx(precision, abs=0.05)


def test_where_nothing_is_wrong_few_are_suspected_and_none_is_expected() -> None:
    margin, _ = margins(20_000, 0.0)
    found = suspects(margin)
    assert len(found.positions) < 0.02 * len(margin)
    assert found.chance[found.positions[-1]] < 0.2


def test_the_most_suspicious_come_first_and_chances_fall() -> None:
    margin, _ = margins(3000, 0.2, seed=1)
    margin[:5] = np.nan
    found = suspects(margin)
    assert (np.diff(margin[found.positions]) >= 0).all()
    assert (np.diff(found.chance[found.positions]) <= 0).all()
    assert np.isnan(np.delete(found.chance, found.positions)).all()
    assert not set(found.positions.tolist()) & set(range(5))


def test_where_labels_do_not_win_nobody_is_suspected() -> None:
    assert suspects(np.array([-1.0, -2.0, -0.5, 0.5])) is None
    assert suspects(np.full(3, np.nan)) is None


def test_the_mirror_by_hand() -> None:
    """About 1: one margin lies above 5.5, as far to the right as -3.5 to the left, and none above 6.5."""
    margin = np.array([-4.5, -3.5, *np.full(200, 1.0), 5.6, 0.9, 1.1])
    np.testing.assert_allclose(mirrored(margin, np.array([0, 1]))[:2], [1.0, 0.5])


def test_the_densest_place_is_that_of_the_majority() -> None:
    margin, _ = margins(20_000, 0.4)
    assert densest(margin) == pytest.approx(1, abs=0.15)
    assert densest(np.full(9, 2.5)) == 2.5
