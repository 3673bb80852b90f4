"""A small set of findings with everything in it."""

from __future__ import annotations

import numpy as np
import pytest

from dynsel.samplers.findings import Findings


def column(*values: object) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


@pytest.fixture
def found() -> Findings:
    """Four samples: 2 and 0 are suspected, 1 and 3 are alike, 3 was never used."""
    samples = {
        "index": np.array([10, 11, 12, 13]),
        "path": column("a/0.png", "a/1.png", "b/2.png", "b/3.png"),
        "text": column('<b>bold</b> & "quoted"', "=1+1", "plain", "=1+1"),
        "given": column("cat", "cat", "dog", "dog"),
        "predicted": column("dog", "cat", "cat", "dog"),
        "given_code": np.array([0, 0, 1, 1]),
        "predicted_code": np.array([1, 0, 0, 1]),
        "confidence": np.array([0.7, 0.9, 0.95, np.nan], dtype=np.float32),
        "own": np.array([0.2, 0.9, 0.05, np.nan], dtype=np.float32),
        "margin": np.array([-1.25, 2.0, -3.0, np.nan], dtype=np.float32),
        "seen": np.array([4, 4, 4, 0]),
        "uses": np.array([4, 4, 4, 0]),
        "chance_wrong": np.array([0.5, np.nan, 1.0, np.nan], dtype=np.float32),
        "group": np.array([0, 1, 2, 1]),
    }
    kinds = {
        "wrong_label": np.array([2, 0]),
        "duplicate": np.array([1, 3]),
        "never_learned": np.array([], dtype=np.int64),
        "hard": np.array([1]),
        "never_used": np.array([3]),
    }
    return Findings(samples, kinds, {"rare": "no features to go by"}, 1.0)
