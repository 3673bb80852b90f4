"""What can be sharded, what is refused, and when it is suggested."""

from __future__ import annotations

import pytest
import torch
from support import Listening, train_loader

from dynsel.callbacks import DynamicSelection
from dynsel.samplers import SelectionController


def test_what_cannot_be_sharded_is_refused():
    with pytest.raises(ValueError, match="FAST can't choose where each process has its own samples only"):
        DynamicSelection("fast", sharded=True)
    with pytest.raises(ValueError, match="Listening can't choose"):
        DynamicSelection(Listening(), sharded=True)
    with pytest.raises(ValueError, match="`log_images_every` shows the samples used most"):
        DynamicSelection("random", sharded=True, log_images_every=2)
    with pytest.raises(ValueError, match="`findings` compares all samples"):
        DynamicSelection(sharded=True, findings=True)
    with pytest.raises(ValueError, match="`exclude` can't be had with `sharded`"):
        DynamicSelection(sharded=True, exclude=[3])
    with pytest.raises(ValueError, match="`sharded` must be at least 1, got 0"):
        DynamicSelection("random", sharded=0)
    with pytest.raises(TypeError, match="`sharded` must be a whole number, got 'yes'"):
        DynamicSelection("random", sharded="yes")


def test_loaders_with_an_order_of_their_own_are_refused():
    selection = SelectionController("random", sharded=4)
    loader = train_loader(sampler=torch.utils.data.WeightedRandomSampler([1.0] * 40, 40), shuffle=None)
    with pytest.raises(TypeError, match="the loader has a WeightedRandomSampler: leave `sampler`"):
        selection.wrap(loader)
    with pytest.raises(ValueError, match="40 samples don't fill 64 shards"):
        SelectionController("random", sharded=True).wrap(train_loader())
    with pytest.raises(ValueError, match="1 processes feed those of 2"):
        selection.wrap(train_loader(), num_replicas=2, rank=0)


def test_nobody_sees_all_samples():
    selection = SelectionController("random", sharded=4)
    selection.wrap(train_loader())
    with pytest.raises(RuntimeError, match="`to_frame` shows every sample"):
        selection.to_frame()
    with pytest.raises(RuntimeError, match="`plot` shows every sample"):
        selection.plot()
    with pytest.raises(RuntimeError, match="`findings` shows every sample"):
        selection.findings()
    assert "40 samples" in repr(selection)
    assert "<table>" in selection._repr_html_()


def test_it_is_suggested_for_many_samples(monkeypatch):
    monkeypatch.setattr("dynsel.samplers.sharding.MANY", 40)
    with pytest.warns(UserWarning, match="40 samples are chosen from .* `sharded=True` leaves each its own part"):
        SelectionController("random").wrap(train_loader())
