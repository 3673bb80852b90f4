"""A small feature store, for the tests of those who write and read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from dynsel.features import StoreWriter, fingerprint

N, D = 23, 4
MATRIX = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)


def dataset(seed: int = 0, n: int = N) -> TensorDataset:
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, torch.arange(n) % 2)


def plan(**changes: Any) -> dict[str, Any]:
    facts = {"N": N, "d": D, "dtype": "float16", "block_rows": 5, "extractor": {"name": "test", "weights": "abc"}}
    return {**facts, "fingerprint": fingerprint(dataset()), **changes}


def write_all(path: Path, matrix: Any = MATRIX, **changes: Any) -> Path:
    StoreWriter.begin(path, plan(**changes))
    writer = StoreWriter(path)
    for block in writer.missing():
        writer.write(block, matrix[writer.rows(block)])
    return writer.finish()
