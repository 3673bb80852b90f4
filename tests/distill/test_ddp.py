"""Classes split across two ranks, each a process of its own: the images are those of one rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distill.conftest import patterns, small_pool
from programs.ranks import launch


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    small_pool(folder / "pool").prepare(patterns(classes=3), patterns(classes=3), torch.device("cpu"))
    return launch("distill_checks", folder, 1, 2)


@pytest.mark.parametrize("run", ["plain", "normal"])
def test_two_ranks_give_the_result_of_one(results, run):
    """Three classes on two ranks; sums are added up in another order, so not to the last bit of a float64."""
    alone, (first, second) = results[1][0]["distilled"][run], [rank["distilled"][run] for rank in results[2]]
    assert first == second
    assert first["steps"] == alone["steps"] == 6
    np.testing.assert_allclose(first["images"], alone["images"], atol=1e-6)
    assert first["match"] == pytest.approx(alone["match"], rel=1e-6)
    np.testing.assert_allclose(first["network"], alone["network"], rtol=1e-6, atol=1e-6)
