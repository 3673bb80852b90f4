"""What tests/models/test_fast.py looks at of two ranks, as each rank saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from support import trainer
from torch.utils.data import DataLoader

from dynsel import DynamicSelection
from dynsel._lib.images import TensorImages
from dynsel.models import FastClassifier
from dynsel.selectors import Random

RANK, WORLD = 0, 2


def trained(folder: Path) -> dict[str, Any]:
    """Eight steps on noise: the first layer, the weights and their slow average."""
    pl.seed_everything(0, verbose=False)
    images = torch.randint(0, 256, (64, 1, 10, 10), dtype=torch.uint8)
    data = TensorImages(images, torch.arange(64) % 2, ["even", "odd"])
    classifier = FastClassifier(2, 1, (8, 8, 8), translate=1, bf16=False)
    loader = DataLoader(data, 8, shuffle=True, collate_fn=TensorImages.collate)
    t = trainer(DynamicSelection(Random(), budget=1), max_epochs=2, strategy="ddp", devices=WORLD)
    t.fit(classifier, loader)
    return {
        "steps": t.global_step,
        "first": classifier.model.whiten.weight.flatten().tolist(),
        "weights": [float(p.detach().double().sum()) for p in classifier.parameters()],
        # Without the statistics of batch norm, which are each rank's own until the next forward pass.
        "slow": [float(b.double().sum()) for b in list(classifier.average.buffers())[:-12]],
    }


CHECKS = {2: [trained]}
torch.set_num_threads(1)
