"""The times of an epoch's record: what is measured encloses what was slept, and nothing is counted twice."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dynsel import SelectionController
from dynsel.selectors import Random

NAP = 0.01


class SlowData(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(NAP)
        return torch.tensor(index)


class SlowSelector(Random):
    needs_features = True
    refresh = 1
    fitted = 0

    @property
    def ready(self) -> bool:
        return self.fitted > 0

    def fit(self, features: object) -> None:
        time.sleep(3 * NAP)
        self.fitted += 1

    def select(self, progress: float, size: int) -> object:
        time.sleep(2 * NAP)
        return super().select(progress, size)


def train(workers: int = 0) -> tuple[SelectionController, float]:
    selection = SelectionController(SlowSelector(), keep_ratio=0.5, features=torch.zeros(12, 2), max_epochs=2, seed=0)
    start = time.perf_counter()
    loader = selection.wrap(DataLoader(SlowData(), batch_size=2, shuffle=True, num_workers=workers))
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            pass
        selection.finish_epoch()
    return selection, time.perf_counter() - start


def test_parts_of_the_time() -> None:
    selection, elapsed = train()
    first, second = selection.history
    assert first.fit_seconds >= 3 * NAP
    assert first.selection_seconds >= first.fit_seconds + 2 * NAP
    # Fixed features: there is nothing new to be fitted to.
    assert second.fit_seconds == 0.0
    assert second.selection_seconds >= 2 * NAP
    for record in (first, second):
        assert record.data_seconds >= 6 * NAP
    assert sum(record.selection_seconds + record.data_seconds for record in selection.history) <= elapsed


def test_waiting_is_that_of_who_trains() -> None:
    # What workers load while training does something else isn't waited for; their start and the rest is.
    selection, elapsed = train(workers=1)
    waited = sum(record.data_seconds for record in selection.history)
    assert waited > 0
    assert waited + sum(record.selection_seconds for record in selection.history) <= elapsed


def test_times_survive_a_restart() -> None:
    selection, _ = train()
    state = selection.state_dict()
    again = SelectionController(SlowSelector(), keep_ratio=0.5, features=torch.zeros(12, 2), max_epochs=2, seed=0)
    loader = again.wrap(DataLoader(SlowData(), batch_size=2, shuffle=True))
    again.load_state_dict(state)
    assert [vars(record) for record in again.history] == [
        pytest.approx(vars(r), nan_ok=True) for r in selection.history
    ]
    assert loader.original is not None
