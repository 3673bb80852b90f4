"""Whoever drives a selection, the same questions have the same answers."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.callbacks import DynamicSelection
from dynsel.samplers.controller import SelectionController
from dynsel.samplers.view import SelectionView


def test_a_callback_answers_as_its_controller_does():
    callback = DynamicSelection("random", keep_ratio=0.5, seed=1)
    controller = callback.controller
    assert isinstance(controller, SelectionView)
    assert repr(callback) == "DynamicSelection(Random(), keep_ratio=0.5, seed=1)"
    assert repr(controller) == "SelectionController(Random(), keep_ratio=0.5, seed=1)"
    loader = controller.wrap(DataLoader(TensorDataset(torch.arange(12.0)), 2))
    batches = [(callback.indices(i), controller.indices(i), x.long()) for i, (x,) in enumerate(loader)]
    assert len(batches) == 3
    for asked, known, held in batches:
        assert torch.equal(asked, held)
        assert torch.equal(known, held)
    assert callback.total_steps(4, 2) == controller.total_steps(4, 2) == 4 * 2
    record = controller.finish_epoch()
    assert callback.history == controller.history == [record]
    assert sum(callback.to_frame()["uses"]) == sum(controller.to_frame()["uses"]) == 6


def test_before_there_is_a_loader_it_says_so():
    selection = SelectionController("random")
    for ask in (lambda: selection.indices(0), lambda: selection.total_steps(3), selection.to_frame, selection.plot):
        with pytest.raises(RuntimeError, match=r"no loader yet: call `wrap\(loader\)` first"):
            ask()


def test_a_training_without_end_has_no_number_of_steps():
    selection = SelectionController("random", keep_ratio=0.5)
    selection.wrap(DataLoader(TensorDataset(torch.arange(12.0)), 2))
    with pytest.raises(ValueError, match="`max_epochs` must be at least 1, got -1; without an end"):
        selection.total_steps(-1)
    with pytest.raises(TypeError, match="`max_epochs` must be a whole number, got None"):
        selection.total_steps(None)
    with pytest.raises(ValueError, match="`accumulate_grad_batches` must be at least 1, got 0"):
        selection.total_steps(3, 0)
