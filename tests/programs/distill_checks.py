"""What tests/distill/test_ddp.py looks at, as each rank saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from distill.conftest import in_float64, patterns, small_pool
from support import trainer

from dynsel._lib.images import TensorImages
from dynsel.distill import NCFM

RANK, WORLD = 0, 1
OPTIONS: dict[str, Any] = {"images_per_class": 2, "num_frequencies": 32, "real_batch": 16, "augment": "crop_cutout"}


def distilled(folder: Path) -> dict[str, Any]:
    """Six steps on all ranks, in float64; the pool is there already."""
    data = patterns(classes=3)
    with in_float64():
        return _distilled(folder, data)


def _distilled(folder: Path, data: TensorImages) -> dict[str, Any]:
    pool = small_pool(folder / "pool")
    found: dict[str, Any] = {}
    for name, options in (("plain", {}), ("normal", {"mode": "normal", "calibration": 1.0, "class_chunk": 1})):
        module = NCFM(data, pool, **OPTIONS, **options).to(torch.float64)
        strategy = {"strategy": "ddp", "devices": WORLD} if WORLD > 1 else {}
        t = trainer(max_steps=6, max_epochs=-1, **strategy)
        t.fit(module)
        found[name] = {
            "images": module.images.detach().flatten().tolist(),
            "network": [float(p.detach().double().sum()) for p in module.frequencies.parameters()],
            "match": float(t.callback_metrics["match"]),
            "steps": t.global_step,
        }
    return found


CHECKS = {1: [distilled], 2: [distilled]}
torch.set_num_threads(1)
