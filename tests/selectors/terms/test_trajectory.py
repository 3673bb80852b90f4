"""The term `trajectory`: scipy's correlation with the lower half, its window, wrong labels, restart."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import pearsonr

from dynsel.selectors import Feedback, Hybrid
from dynsel.selectors.terms import Trajectory


def told(losses: np.ndarray) -> Trajectory:
    """After one epoch for each row of losses, (E, N)."""
    term = Trajectory()
    term.bind(losses.shape[1])
    for row in torch.from_numpy(losses).float():
        term.values(torch.zeros(len(row)))
        term.learn(Feedback(torch.arange(len(row)), per_sample_loss=row))
    return term


def test_it_is_the_correlation_with_the_lower_half_over_ten_epochs():
    losses = np.random.default_rng(0).random((13, 21)).astype(np.float32)
    last = losses[-10:].astype(float)
    lower = last.mean(0) <= np.median(last.mean(0))
    wanted = [(1 + pearsonr(last[:, i], last[:, lower].mean(1)).statistic) / 2 for i in range(21)]
    np.testing.assert_allclose(told(losses).values(torch.zeros(21)), wanted, atol=1e-6)


def test_wrong_labels_go_another_way():
    way = np.linspace(2, 0.5, 12)[:, None]
    wrong = np.arange(100) >= 60
    noise = 0.05 * np.random.default_rng(1).random((12, 100))
    values = told(np.where(wrong, 3 - way, way) + noise).values(torch.zeros(100))
    assert float(values[torch.from_numpy(wrong)].max()) < 0.2 < 0.8 < float(values[torch.from_numpy(~wrong)].min())


def test_who_has_no_correlation_is_trusted():
    losses = np.random.default_rng(0).random((3, 6)).astype(np.float32)
    losses[:, 2] = 0.5
    losses[:, 4] = np.nan
    values = told(losses).values(torch.zeros(6))
    assert values[[2, 4]].tolist() == [1, 1]
    assert told(losses[:2]).values(torch.zeros(6)).tolist() == [1] * 6
    assert told(np.full((4, 3), np.nan)).values(torch.zeros(3)).tolist() == [1] * 3


def test_a_restart_goes_on_with_the_same_window():
    losses = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    runs = [Hybrid(terms={"trajectory": 1.0}, gamma=0.0, epsilon=0.0, seed=0) for _ in range(2)]
    for selector in runs:
        selector.bind(12)
    before = runs[0].state_dict()
    for epoch, row in enumerate(losses):
        chosen = runs[0].select(epoch / 8, 12).indices
        if epoch == 5:
            runs[1].load_state_dict(before)
        if epoch >= 5:
            assert torch.equal(runs[1].select(epoch / 8, 12).indices, chosen)
            runs[1].observe(Feedback(chosen, per_sample_loss=row[chosen]))
        runs[0].observe(Feedback(chosen, per_sample_loss=row[chosen]))
        before = runs[0].state_dict()
    assert torch.equal(runs[0].scores(1.0), runs[1].scores(1.0))


def test_one_epoch_of_two_thousand_samples_takes_no_more_than_its_window():
    term = told(np.random.default_rng(0).random((4, 2000)))
    assert sum(tensor.numel() for tensor in term._state_copies().values()) == 10 * 2000 + 1
