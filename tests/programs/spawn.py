"""A fit whose two processes Lightning starts afresh (`ddp_spawn`), with everything pickled on the way: FOLDER.

Each process leaves what it trained on in FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "programs")]

from support import Listening, Module, Sizes, train_loader, trainer  # noqa: E402

from dynsel.callbacks import DynamicSelection  # noqa: E402


class Plain(Module):
    """Picklable, and without a validation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = {}  # type: ignore[assignment]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.setdefault(self.current_epoch, [])
        return super().training_step(batch, batch_idx)


class Leaves(pl.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        chosen = trainer.selection
        told = [i for feedback in chosen.selector.heard for i in feedback.indices.tolist()]
        left = {"seen": list(pl_module.seen.values()), "usage": chosen.selector.usage.tolist(), "told": told}
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(left))


if __name__ == "__main__":
    pl.seed_everything(1, verbose=False)
    folder = Path(sys.argv[1])
    chosen = DynamicSelection(Listening(), Sizes((20, 13), 40))
    options = {"devices": 2, "strategy": "ddp_spawn", "max_epochs": 2}
    trainer(chosen, Leaves(folder), **options).fit(Plain(), train_loader())
