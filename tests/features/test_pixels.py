from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.utils.data import TensorDataset

from dynsel.features import pixel_features


def test_like_sklearns_pca():
    rng = np.random.default_rng(0)
    images = (rng.standard_normal((1500, 5)) * [9, 6, 4, 0.1, 0.1]) @ rng.standard_normal((5, 12))
    found = pixel_features(TensorDataset(torch.from_numpy(images).view(-1, 1, 3, 4), torch.zeros(1500)), 3)
    expected = PCA(3).fit_transform(images)
    assert found.shape == (1500, 3)
    assert found.dtype == np.float32
    for a, b in zip(found.T, expected.T, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) > 0.999


def test_batched_data_sets_and_single_items_agree():
    class Batched(TensorDataset):
        def __getitems__(self, indices):
            return self.tensors[0][indices], self.tensors[1][indices]

    tensors = torch.rand(30, 1, 2, 3), torch.zeros(30)
    np.testing.assert_array_equal(pixel_features(Batched(*tensors)), pixel_features(TensorDataset(*tensors)))
    assert pixel_features(Batched(*tensors)).shape == (30, 6)


def test_inputs_of_different_shape():
    with pytest.raises(ValueError, match=r"must have one shape, got \(3, 2\) after \(2, 2\); add a Resize"):
        pixel_features([np.zeros((2, 2)), np.zeros((3, 2))])
