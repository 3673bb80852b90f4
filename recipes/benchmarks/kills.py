"""Kill a small training at random moments (SIGKILL), resume it each time, and compare with one that was left alone.

    python recipes/benchmarks/kills.py --kills 200
    python recipes/benchmarks/kills.py --kills 100 --budget 1

Each run trains with random selections of changing size, dropout and augmentation-like noise from every global
random generator, and saves a checkpoint at every step. It is killed at a uniformly random moment, resumed from its
last checkpoint, killed again, and so on until it finishes. Its final weights, its usage counts and the order in
which samples were trained on must be those of the run that was left alone, bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from dynsel.callbacks import DynamicSelection
from dynsel.schedules import Cosine
from dynsel.selectors import Random

EPOCHS = 4


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 4)
        )

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        noise = torch.rand(()) + random.random() + float(np.random.rand())  # noqa: NPY002 - the user's own draws
        return F.cross_entropy(self.net(batch[0] + 0.1 * noise), batch[1])

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(folder: Path, workers: int, budget: float | None) -> None:
    """Start or continue the run in `folder`; writes `result.pt` at its end."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    resuming = any(folder.glob("*.ckpt"))
    pl.seed_everything(int(time.time()) if resuming else 0, verbose=False)
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(200, 8, generator=generator), torch.randint(4, (200,), generator=generator))
    selection = DynamicSelection(Random(seed=0), Cosine(1.0, 0.3), seed=0, budget=budget)
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[selection, saver],
    )
    loader = DataLoader(data, 10, shuffle=True, num_workers=workers)
    model = Model()
    trainer.fit(model, loader, DataLoader(data, 50), ckpt_path="last" if resuming else None, weights_only=True)
    samples = selection.history[-1].samples_trained
    result = {"weights": model.state_dict(), "usage": selection.selector.usage, "samples": samples}
    torch.save(result, folder / "result.tmp")
    os.replace(folder / "result.tmp", folder / "result.pt")


def attempt(folder: Path, options: argparse.Namespace, kill_after: float | None) -> bool:
    """One process of the run; True if it was killed. Forked, so that imports don't dominate the kill's moment."""
    child = os.fork()
    if child == 0:
        try:
            train(folder, options.workers, options.budget)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a run failed instead of being killed or finishing")
    return os.WIFSIGNALED(status)


def same(a: Path, b: Path) -> bool:
    x, y = (torch.load(path / "result.pt", weights_only=True) for path in (a, b))
    weights = all(torch.equal(u, v) for u, v in zip(x["weights"].values(), y["weights"].values(), strict=True))
    return weights and torch.equal(x["usage"], y["usage"]) and x["samples"] == y["samples"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--budget", type=float, help="spend this share of full data's steps in rounds; default: none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    torch.set_num_threads(1)
    moments = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="dynsel-kills-"))
    alone = root / "alone"
    alone.mkdir()
    start = time.perf_counter()
    attempt(alone, options, None)
    duration = time.perf_counter() - start
    kills = runs = equal = 0
    while kills < options.kills:
        folder = root / f"run{runs}"
        folder.mkdir()
        # At 0.7 of a run's length at most, so that most processes are hit.
        while attempt(folder, options, moments.uniform(0, 0.7 * duration)):
            kills += 1
            if kills >= options.kills:
                attempt(folder, options, None)
                break
        runs += 1
        equal += same(alone, folder)
        print(f"{kills} kills, {runs} runs finished, {equal} equal", flush=True)
        shutil.rmtree(folder)
    shutil.rmtree(root)
    print(
        f"kills {kills}, runs {runs}, equal to the run left alone {equal}, lost {runs - equal} "
        f"(budget {options.budget}, workers {options.workers}, seed {options.seed}, torch {torch.__version__}, "
        f"lightning {pl.__version__}, "
        f"{(time.perf_counter() - start) / 60:.1f} min)"
    )
    raise SystemExit(equal != runs)


if __name__ == "__main__":
    main()
