"""Pictures of the distilled images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dynsel.distill.sheet import Sheet, draw_sheet


def test_a_picture_shows_the_images(tmp_path):
    """Black, white and a colour end up in their places."""
    images = torch.zeros(2, 2, 3, 8, 8)
    images[0, 1] = 1.0
    images[1, 0, 0] = 1.0
    draw_sheet(images, tmp_path / "a.png", ["one", "two"], ["x", "y"], "title")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    share = {c: float((pixels == c).all(1).mean()) for c in ((0, 0, 0), (255, 0, 0))}
    assert share[0, 0, 0] > 1.5 * share[255, 0, 0] > 0.05


def test_sheets_are_drawn_now_and_then():
    with pytest.raises(ValueError, match="`every` must be at least 1, got 0"):
        Sheet("x", 0)
