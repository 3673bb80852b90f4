"""transformers' Trainer on two processes; what engines/test_transformers.py looks at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch.distributed as dist
from engines.test_transformers import controller, trained

RANK, WORLD = 0, 1


def selected(folder: Path) -> dict[str, Any]:
    os.environ["RANK"] = str(RANK)
    selection = controller(ratio=0.3)
    model, trainer = trained(folder, selection, save_strategy="steps", save_steps=4)
    again, _ = trained(folder, controller(ratio=0.3), folder / "checkpoint-4")
    dist.barrier()
    return {
        "seen": model.seen,
        "rest": again.seen,
        "usage": selection.selector.usage.tolist(),
        "trained": [record.samples_trained for record in selection.history],
        "steps": trainer.state.global_step,
    }


CHECKS = {2: [selected]}
