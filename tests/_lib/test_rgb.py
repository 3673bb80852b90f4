"""Images of any kind as RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from features.extractors.conftest import picture

from dynsel._lib.rgb import as_rgb


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "1", "CMYK"])
def test_pictures_of_any_mode(mode: str) -> None:
    image = as_rgb(picture(mode))
    assert (image.mode, image.size) == ("RGB", (40, 30))


def test_arrays_and_tensors_of_any_layout() -> None:
    rgb = np.asarray(picture())
    chw = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    alpha = np.concatenate([rgb, rgb[..., :1]], -1)
    for same in (rgb, chw, chw / 255, rgb.astype(np.float64) / 255, alpha, alpha.transpose(2, 0, 1)):
        np.testing.assert_array_equal(np.asarray(as_rgb(same)), rgb)
    grey = rgb[..., :1].repeat(3, -1)
    for same in (rgb[..., 0], rgb[..., :1], chw[:1], chw[:2], chw[0] / 255):
        np.testing.assert_array_equal(np.asarray(as_rgb(same)), grey)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("cat.png", TypeError, r"items must be images \(PIL, tensor or array\), got str"),
        (torch.zeros(3, 4, 4).long(), TypeError, "items must be images"),
        (torch.zeros(5, 6, 7), ValueError, r"\(H, W, C\) with at most 4 channels, got \(5, 6, 7\)"),
        (
            torch.full((3, 4, 4), -1.0),
            ValueError,
            r"in \[0, 1\], got float32 from -1 to -1; leave normalization out of the",
        ),
        (torch.full((3, 4, 4), torch.nan), ValueError, "got float32 from nan to nan"),
    ],
)
def test_what_is_no_picture(value: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        as_rgb(value)
