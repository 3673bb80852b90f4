"""Feature matrices read in blocks, and their moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynsel._lib.matrices import blocks, moments, take


@settings(max_examples=50)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-100, 100, width=32)))
def test_moments_against_numpy(matrix: np.ndarray) -> None:
    from unittest import mock

    with mock.patch("dynsel._lib.matrices._BLOCK_VALUES", 3):
        mean, spread = moments(matrix)
    wide = matrix.astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), wide.mean(0), atol=1e-9)
    assert spread == pytest.approx(((wide - wide.mean(0)) ** 2).sum(), rel=1e-9, abs=1e-6)


def test_blocks_and_rows() -> None:
    features = torch.arange(14.0).reshape(7, 2)
    assert [take(features, rows)[:, 0].tolist() for rows in blocks(features, 3)] == [[0, 2, 4], [6, 8, 10], [12]]
    assert take(features.numpy(), torch.tensor([5, 0])).tolist() == [[10, 11], [0, 1]]
