"""Full: every sample, whatever is asked for."""

from __future__ import annotations

import pytest

from dynsel.selectors import Full


@pytest.mark.parametrize("size", [1, 3, 5])
def test_every_sample_without_weights(size):
    selector = Full()
    selector.bind(5)
    selection = selector.select(0.3, size)
    assert selection.indices.tolist() == list(range(5))
    assert selection.weights is None
    assert selector.needs == ()
