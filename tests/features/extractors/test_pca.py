"""Principal components of pixels, as an extractor."""

from __future__ import annotations

import pytest
import torch

from dynsel.features.extractors import (
    PixelPCA,
)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="`components` must be at least 1, got 0"):
        PixelPCA(0)
    extractor = PixelPCA(2)
    extractor.fit([torch.rand(1, 3, 3) for _ in range(9)])
    with pytest.raises(ValueError, match=r"items must have one shape, got \(1, 4, 4\) after \(1, 3, 3\); add a Resize"):
        extractor.prepare(torch.rand(1, 4, 4))
