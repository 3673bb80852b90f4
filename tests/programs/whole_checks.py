"""A keep ratio of 1 beside plain Lightning on two ranks: what each trained on, and the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from support import fit, noisy

from dynsel.callbacks import DynamicSelection

RANK, WORLD = 0, 1


def _trained(*callbacks: pl.Callback) -> dict[str, Any]:
    module, _ = fit(*callbacks, module=noisy(), max_epochs=2, devices=WORLD, strategy="ddp")
    weights = {name: values.tolist() for name, values in module.state_dict().items()}
    return {"seen": [repr(one) for one in dict(module.seen).items()], "weights": weights}


def whole(folder: Path) -> dict[str, Any]:
    """With all samples selected."""
    return _trained(DynamicSelection("random", keep_ratio=1.0))


def plain(folder: Path) -> dict[str, Any]:
    """Without a selection."""
    return _trained()


CHECKS = {2: [whole, plain]}
