"""The number of CPU threads: set, left, or refused before torch fails at it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynsel._lib.threads import set_threads


def test_threads_are_set_or_left() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(2)
        set_threads(None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [0, -1, 10**10])
def test_what_cannot_be(threads: Any) -> None:
    with pytest.raises(ValueError, match=r"`--threads` must be in \[1, 1024\], got"):
        set_threads(threads)
