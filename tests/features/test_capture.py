"""Features collected from a training: complete when every sample has some, in a checkpoint until then."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynsel.features.capture import CapturedFeatures, find_module


def alone(value: object) -> list[object]:
    return [value]


def test_complete_when_every_sample_has_been_seen():
    captured = CapturedFeatures(3)
    captured.put(torch.tensor([2, 0]), torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))
    captured.merge(alone)
    assert captured.complete_features is None
    captured.put(torch.tensor([1, 2]), torch.tensor([[5.0, 6.0], [7.0, torch.inf]]))
    captured.merge(alone)
    # What isn't finite is waited for; the row from before stays.
    assert captured.complete_features.tolist() == [[3, 4], [5, 6], [1, 2]]
    assert captured.features.dtype == torch.float16


def test_every_ranks_features_are_taken():
    captured = CapturedFeatures(2)
    captured.put(torch.tensor([0]), torch.ones(1, 2))
    captured.merge(lambda mine: [mine, [(torch.tensor([1]), torch.zeros(1, 2, dtype=torch.float16))]])
    assert captured.is_complete


def test_an_interrupted_collection_goes_on():
    captured = CapturedFeatures(2)
    captured.put(torch.tensor([0]), torch.ones(1, 2))
    captured.merge(alone)
    again = CapturedFeatures(2)
    again.load_state_dict(captured.state_dict())
    again.put(torch.tensor([1]), torch.zeros(1, 2))
    again.merge(alone)
    assert again.complete_features.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(ValueError, match="the captured features are of 2 samples, this data set has 5"):
        CapturedFeatures(5).load_state_dict(captured.state_dict())


def test_released_it_collects_no_more():
    captured = CapturedFeatures(1)
    captured.release()
    captured.put(torch.tensor([0]), torch.ones(1, 2))
    captured.merge(alone)
    assert captured.features is None


def test_one_width():
    captured = CapturedFeatures(2)
    captured.put(torch.tensor([0]), torch.ones(1, 2))
    captured.put(torch.tensor([1]), torch.ones(1, 3))
    with pytest.raises(ValueError, match="captured features must have one width, got 3 after 2; name a submodule"):
        captured.merge(alone)


def test_the_last_linear_layer_or_a_name():
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU())
    assert find_module(model, None) is model[2]
    assert find_module(model, "1") is model[1]
    assert find_module(torch.compile(model), "0") is model[0]
    with pytest.raises(ValueError, match="the model has no submodule 'head'; there are 0, 1, 2, 3"):
        find_module(model, "head")
    with pytest.raises(ValueError, match=r"the model has no nn.Linear .*features='model:NAME'"):
        find_module(nn.ReLU(), None)
