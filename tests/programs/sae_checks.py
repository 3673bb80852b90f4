"""The sparse autoencoder on two ranks; what tests/sae/test_fit.py looks at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dynsel.sae import batches, fit_sae

RANK, WORLD = 0, 1


def both(folder: Path) -> dict[str, Any]:
    """Trained from memory and from pools."""
    found = {}
    for name, mode in (("memory", None), ("pools", "r")):
        features = np.load(folder / "rows.npy", mmap_mode=mode)
        if name == "pools":
            batches.POOL_BYTES, batches.CHUNK_BYTES = 600 * features[0].nbytes, 16 * features[0].nbytes
        fit = fit_sae(features, num_factors=48, k=4, epochs=10, devices=2, device="cpu")
        found[name] = {"fvu": fit.fvu, "dead": fit.dead_share, "sum": float(fit.sae.decoder.double().sum())}
    return found


CHECKS: dict[int, list[Callable[[Path], Any]]] = {2: [both]}
