"""Rounds on two ranks, as each rank saw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from support import Module, SaveEvery, fit, same_weights, train_loader
from torch import Tensor

from dynsel.callbacks import DynamicSelection
from dynsel.selectors import Random

RANK, WORLD = 0, 1


class Scheduled(Module):
    """Notes the rate of each step of a OneCycle that is set up by the estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=int(self.estimate or 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rounds(folder: Path) -> dict[str, Any]:
    """Several selections an epoch, with another number of workers on each rank."""

    def run(chosen: DynamicSelection | None, *callbacks: Any, workers: int = 0, **options: Any) -> Scheduled:
        extra = [] if chosen is None else [chosen]
        pl.seed_everything(1, verbose=False)
        loader, module = train_loader(39, num_workers=workers), Scheduled()
        fit(*extra, *callbacks, module=module, loader=loader, max_epochs=3, devices=WORLD, strategy="ddp", **options)
        return module

    def selection(ratio: float) -> DynamicSelection:
        return DynamicSelection("loss", ratio, budget=1.0)

    plain, saver, chosen = run(None), SaveEvery(folder / str(WORLD)), selection(0.3)
    whole = run(chosen, saver)
    uneven, full = run(selection(0.3), workers=2 * RANK), run(selection(1.0))
    same = DynamicSelection(Random(static=True), 0.5, budget=1.0)
    fixed = run(same)
    resumed = [run(selection(0.3), ckpt_path=path, seed=2) for path in saver.paths[1::5]]
    return {
        "steps": [len(module.rates) for module in (plain, whole, full)],
        "same_rates": plain.rates == whole.rates,
        "uneven": whole.seen == uneven.seen and same_weights(whole, uneven),
        "plain": plain.seen == full.seen and same_weights(plain, full),
        "resumed": [same_weights(whole, other) for other in resumed],
        "seen": [whole.seen[epoch] for epoch in sorted(whole.seen)],
        "fixed": [fixed.seen[epoch] for epoch in sorted(fixed.seen)],
        "fixed_usage": same.selector.usage.tolist(),
        "usage": chosen.selector.usage.tolist(),
        "weights": float(sum(p.sum() for p in whole.parameters())),
    }


CHECKS = {2: [rounds]}
