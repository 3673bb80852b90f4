"""Does an epoch at keep ratio ρ cost ρ of a full epoch? With selection, loader start and bookkeeping included.

    python recipes/benchmarks/efficiency.py --cycles 5

One training of a ResNet-18 on data of CIFAR-10's shape whose keep ratio goes 1.0, 0.5, 0.3, 1.0, 0.5, 0.3, ...
An epoch's time runs from the end of the epoch before to its own end. Printed: median over the cycles of
time(ρ) / (ρ · time(1.0)), each within its own cycle, without and with workers. 1.00 is perfect.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import time
import warnings

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.callbacks import DynamicSelection
from dynsel.models import ImageClassifier
from dynsel.schedules import Schedule
from dynsel.selectors import Random

RATIOS = (1.0, 0.5, 0.3)


class Cycle(Schedule):
    """1.0, 0.5, 0.3, 1.0, ... one an epoch, after one epoch to warm up."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, progress: float) -> float:
        return RATIOS[(round(progress * self.epochs) - 1) % len(RATIOS)]


class Stopwatch(pl.Callback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ends.append(time.perf_counter())


def measure(samples: int, batch_size: int, cycles: int, workers: int, architecture: str) -> dict[float, list[float]]:
    """Ratios of each cycle, by keep ratio."""
    pl.seed_everything(0, verbose=False)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (samples, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = TensorDataset(images, torch.randint(10, (samples,), generator=generator))
    epochs = 1 + len(RATIOS) * cycles
    stopwatch = Stopwatch()
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[DynamicSelection(Random(), Cycle(epochs)), stopwatch],
    )
    loader = DataLoader(data, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    trainer.fit(ImageClassifier(architecture, num_classes=10), loader)
    times = [b - a for a, b in zip(stopwatch.ends, stopwatch.ends[1:], strict=False)]
    by_cycle = [times[i : i + len(RATIOS)] for i in range(0, len(times), len(RATIOS))]
    return {ratio: [cycle[k] / (ratio * cycle[0]) for cycle in by_cycle] for k, ratio in enumerate(RATIOS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--architecture", default="resnet18")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    print(f"{options} on {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for workers in (0, 2):
        ratios = measure(options.samples, options.batch_size, options.cycles, workers, options.architecture)
        for ratio in RATIOS[1:]:
            values = ratios[ratio]
            print(
                f"workers {workers}  keep {ratio}: time / (keep x full time) = {statistics.median(values):.3f} "
                f"(min {min(values):.3f}, max {max(values):.3f}, n = {len(values)})",
                flush=True,
            )


if __name__ == "__main__":
    main()
