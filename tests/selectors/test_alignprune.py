"""AlignPrune: its score beside scipy's correlation, and that wrong labels stay out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from dynsel.selectors import AlignPrune, Feedback


def train(selector: AlignPrune, losses: np.ndarray, size: int | None = None) -> list[set[int]]:
    """One epoch for each row of losses, (epochs, N); returns what was chosen."""
    chosen = []
    selector.bind(losses.shape[1])
    for epoch, row in enumerate(torch.from_numpy(losses).float()):
        indices = selector.select(epoch / len(losses), size or losses.shape[1]).indices
        selector.observe(Feedback(indices, per_sample_loss=row[indices]))
        chosen.append(set(indices.tolist()))
    return chosen


def test_the_score_is_the_correlation_over_the_window():
    losses = np.random.default_rng(0).random((13, 20)).astype(np.float32)
    selector = AlignPrune(trusted=[3, 5, 8], window=6, seed=0)
    train(selector, losses)
    last = losses[-6:].astype(float)
    wanted = [pearsonr(last[:, i], last[:, [3, 5, 8]].mean(1)).statistic for i in range(20)]
    np.testing.assert_allclose(selector._alignment(), wanted, atol=1e-9)


def test_samples_with_wrong_labels_stay_out():
    """Right ones fall, wrong ones rise; the trusted ones are always there."""
    generator = np.random.default_rng(1)
    way = np.linspace(2, 0.5, 12)[:, None]
    wrong = np.arange(100) >= 60
    losses = np.where(wrong, 3 - way, way) + 0.05 * generator.random((12, 100))
    chosen = train(AlignPrune(trusted=[0, 1], seed=0), losses, size=50)
    assert all({0, 1} <= epoch for epoch in chosen)
    # Since all were seen often enough.
    assert sum(wrong[i] for i in chosen[-1]) <= 1


def test_where_a_sample_was_left_out_its_last_loss_stands():
    selector = AlignPrune(trusted=[0], window=3, seed=0)
    selector.bind(2)
    heard = [([0, 1], [3.0, 5.0]), ([0], [2.0]), ([0, 1], [1.0, 4.0])]
    for indices, losses in heard:
        selector.select(0.0, 2)
        selector.observe(Feedback(torch.tensor(indices), per_sample_loss=torch.tensor(losses)))
    wanted = [1, pearsonr([5.0, 5.0, 4.0], [3.0, 2.0, 1.0]).statistic]
    np.testing.assert_allclose(selector._alignment(), wanted, atol=1e-6)


def test_who_was_out_for_the_whole_window_comes_first():
    selector = AlignPrune(trusted=[0], window=3, seed=0)
    selector.bind(30)
    for epoch in range(6):
        selector.select(0.0, 30)
        indices = torch.arange(30) if epoch < 2 else torch.arange(25)
        selector.observe(Feedback(indices, per_sample_loss=torch.rand(len(indices)) - epoch))
    assert {0, *range(25, 30)} == set(selector.select(0.5, 6).indices.tolist())


def test_until_three_epochs_are_known_it_rotates():
    chosen = train(AlignPrune(trusted=[0], seed=0), np.random.default_rng(0).random((3, 31)), size=11)
    others = [epoch - {0} for epoch in chosen]
    assert len(set.union(*others)) == 30


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        (None, "AlignPrune needs `trusted`, the positions of samples whose labels are right"),
        ([5], r"`trusted` must be positions in 0 .. 4, got 5 .. 5"),
        ([-1, 2], r"`trusted` must be positions in 0 .. 4, got -1 .. 2"),
        ([0.5], r"`trusted` must be a list of whole numbers, got shape \(1,\) of torch.float32"),
        ([], r"`trusted` must be a list of whole numbers, got shape \(0,\)"),
    ],
)
def test_what_is_no_position_is_refused(trusted, message):
    with pytest.raises(ValueError, match=message):
        AlignPrune(trusted=trusted).bind(5)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8"])
def test_positions_are_integers_of_any_kind(kind):
    selector = AlignPrune(trusted=np.array([4, 2], dtype=kind), seed=0)
    selector.bind(9)
    assert {2, 4} <= set(selector.select(0.0, 3).indices.tolist())


def test_positions_are_read_from_a_file(tmp_path):
    np.save(tmp_path / "clean.npy", np.array([4, 2]))
    selector = AlignPrune(trusted=str(tmp_path / "clean.npy"), seed=0)
    selector.bind(9)
    assert {2, 4} <= set(selector.select(0.0, 3).indices.tolist())
    with pytest.raises(FileNotFoundError, match="`trusted` must be positions of samples"):
        AlignPrune(trusted="nowhere.npy").bind(9)


@pytest.mark.parametrize("trusted", [[0.5], "nowhere.npy"])
def test_what_can_be_known_without_data_is_said_at_once(trusted):
    with pytest.raises((ValueError, FileNotFoundError), match="`trusted`"):
        AlignPrune(trusted=trusted)


def test_positions_are_a_range() -> None:
    selector = AlignPrune(trusted=range(2, 5), seed=0)
    selector.bind(9)
    assert {2, 3, 4} <= set(selector.select(0.0, 4).indices.tolist())
