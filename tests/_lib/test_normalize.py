"""Normalization of images, against the formula by hand."""

from __future__ import annotations

import copy

import pytest
import torch

from dynsel._lib.normalize import CIFAR10_MEAN, Normalize, usual_statistics

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalize_by_hand(channels_last):
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    result = Normalize(MEAN, STD, channels_last)(images)
    expected = torch.tensor([-1.0, (0.2 - 0.25) / 0.25, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    torch.testing.assert_close(result, expected)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(Normalize(MEAN, STD)(images / 255), expected)


def test_normalize_keeps_nothing_in_checkpoints_and_follows_casts():
    normalize = Normalize(MEAN, STD)
    assert normalize.state_dict() == {}
    assert normalize.bfloat16()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).dtype == torch.bfloat16
    assert copy.deepcopy(normalize)(torch.zeros(1, 3, 2, 2)).shape == (1, 3, 2, 2)


def test_what_cannot_be_normalized_is_named():
    with pytest.raises(ValueError, match="`mean` and `std` must be of one length, got 2 and 3"):
        Normalize((0.5, 0.5), STD)
    with pytest.raises(ValueError, match=r"`std` must be above 0, got 0.0"):
        Normalize((0.5,), (0.0,))
    with pytest.raises(TypeError, match=r"`images` must be uint8 or floating, got torch.int64"):
        Normalize(MEAN, STD)(torch.zeros(1, 3, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 1"):
        Normalize(MEAN, STD)(torch.zeros(1, 1, 2, 2))


def test_usual_statistics_have_one_number_per_channel():
    assert usual_statistics(3)[0] == CIFAR10_MEAN
    assert usual_statistics(1) == ((0.5,), (0.5,))
