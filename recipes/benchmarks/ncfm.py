"""What a step of NCFM costs, beside the published method's loop over classes, on the same hardware in the same run.

    python recipes/benchmarks/ncfm.py            # digits-sized on a CPU, CIFAR-10-sized on a GPU
    python recipes/benchmarks/ncfm.py --classes 100 --images_per_class 10    # CIFAR-100's setting, for a GPU

Random images and hardly trained networks: their values don't matter here. A step has one feature network, 1,024 learned
frequencies, every class's real batch and all synthetic images. The loop is the published method's: for each class its
own draw of frequencies, its own augmentation, two passes backward through one retained graph (into the images, and
into the frequency network), and a step of either optimiser. It is given this package's kernels, channels-last and real
images on the device, so that what is measured is the loop. (The published code repeats four frequencies; the loop here
has 1,024 different ones.) Ours is `NCFM` driven by a Trainer, with all that the Trainer does in a step; it makes one
step of the frequency network for all classes.

Each runs in a process of its own, in turn, so that peaks of memory are its own: on a GPU what torch allocated at most,
on a CPU by how much the peak resident size rose above that of the process with the data loaded. Medians over rounds. On
a CPU the goal is judged by processor time, on which other processes have less influence than on the wall clock.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F

from dynsel._lib.provenance import hardware
from dynsel.cfd import characteristic_function, discrepancy
from dynsel.data import TensorImages
from dynsel.distill import NCFM, Pool
from dynsel.distill.mosaic import decode

WARM_UP = 3


def random_data(classes: int, per_class: int, shape: tuple[int, int, int]) -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(classes * per_class) % classes
    images = torch.randint(256, (len(targets), *shape), generator=generator, dtype=torch.uint8)
    return TensorImages(images, targets, [str(code) for code in range(classes)])


class Clock(pl.Callback):
    """Times the steps after the warm-up."""

    def __init__(self) -> None:
        self.start = (0.0, 0.0)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == WARM_UP:
            synchronize(pl_module.device)
            self.start = now()


def now() -> tuple[float, float]:
    """Wall clock and processor time of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def each(start: tuple[float, float], steps: int) -> tuple[float, float]:
    """The same a step since then."""
    end = now()
    return (end[0] - start[0]) / steps, (end[1] - start[1]) / steps


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ours(module: NCFM, steps: int, precision: str) -> tuple[float, float]:
    clock = Clock()
    trainer = pl.Trainer(
        max_steps=steps + WARM_UP,
        accelerator="auto",
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module)
    synchronize(trainer.strategy.root_device)
    return each(clock.start, steps)


def loop(module: NCFM, steps: int, precision: str) -> tuple[float, float]:
    """The published method's iteration, a class at a time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device)
    real = module.data.to(device)
    members = [(real.targets == code).nonzero()[:, 0] for code in range(module.num_classes)]
    loaded = module.pool.load(module.data, device)
    images = module.images
    image_optimizer = torch.optim.AdamW([images], 0.01, weight_decay=5e-4)
    network_optimizer = torch.optim.SGD(module.frequencies.parameters(), 1e-3, momentum=0.5)
    host, generator = torch.Generator().manual_seed(0), torch.Generator(device).manual_seed(0)
    bf16 = precision.startswith("bf16")

    def features(x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return F.normalize(network.features(x).float(), dim=1)

    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            synchronize(device)
            start = now()
        with torch.no_grad():
            images.clamp_(0, 1)
        network = loaded.blend(
            int(torch.randint(len(loaded), (), generator=host)), float(torch.rand((), generator=host))
        )
        total = 0.0
        for code in range(module.num_classes):
            rows = members[code][torch.randperm(len(members[code]), generator=host)[: module.real_batch].to(device)]
            draw = module.augmentation.draw(1, host, generator)
            with torch.no_grad():
                true = features(module.augmentation(module.normalize(real.images[rows])[None], draw)[0])
            fake = module.normalize(decode(images[code], module.factor).flatten(0, 1))
            fake = features(module.augmentation(fake[None], draw)[0])
            t = module.frequencies(generator)
            loss = 300 * discrepancy(characteristic_function(fake, t), characteristic_function(true, t))
            image_optimizer.zero_grad()
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            image_optimizer.step()
            network_optimizer.zero_grad()
            (-loss).backward()  # type: ignore[no-untyped-call]
            network_optimizer.step()
            total += float(loss)
    synchronize(device)
    return each(start, steps)


def peak_bytes() -> int:
    """Peak resident size of this process; Linux counts in kilobytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work(args: argparse.Namespace) -> None:
    """One process: build, run, and print the numbers as JSON."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = random_data(args.classes, args.per_class, (args.channels, args.side, args.side))
    pool = Pool(args.work_folder, networks=2, epochs=1, width=args.width, batch_size=500, augment="", cutmix=False)
    if args.worker == "prepare":
        few = random_data(args.classes, 1, data.image_shape)
        pool.prepare(data, few, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return
    module = NCFM(data, pool, args.images_per_class, args.factor, real_batch=args.real_batch, compile=args.compile)
    before = peak_bytes()
    wall, cpu = {"ours": ours, "loop": loop}[args.worker](module, args.steps, args.precision)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes() - before
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak}))


def run(worker: str, folder: str, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments, "--worker", worker, "--work_folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    return found


def parse() -> argparse.Namespace:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in (
        ("classes", 10, "number of classes"),
        ("per_class", 5000 if gpu else 500, "real images of a class"),
        ("images_per_class", 10, "synthetic images of a class"),
        ("factor", 2, "tiles along each side"),
        ("side", 32 if gpu else 8, "pixels along each side"),
        ("channels", 3 if gpu else 1, "channels"),
        ("width", 128 if gpu else 64, "channels of the ConvNet"),
        ("real_batch", 1024 if gpu else 256, "real images of a class a step"),
        ("steps", 50 if gpu else 20, "steps timed"),
        ("rounds", 3, "runs of each, in turn"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--precision", default="bf16-mixed" if gpu else "32-true")
    parser.add_argument("--compile", action="store_true", help="compile the feature network (ours only)")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--work_folder", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.worker:
        work(args)
        return
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        pool = str(Path(folder) / "pool")
        run("prepare", pool, arguments)
        results: dict[str, list[dict[str, float]]] = {"loop": [], "ours": []}
        for _ in range(args.rounds):
            for worker, found in results.items():
                found.append(run(worker, pool, arguments))
    middle = {
        name: {key: statistics.median(r[key] for r in found) for key in ("wall", "cpu", "peak")}
        for name, found in results.items()
    }
    for name, took in middle.items():
        print(f"{name}: {took['wall']:.4f} s a step ({took['cpu']:.4f} s processor), peak {took['peak'] / 1e6:.0f} MB")
    gpu = torch.cuda.is_available()
    ratios = {key: middle["loop"][key] / middle["ours"][key] for key in ("wall", "cpu")}
    goal, ratio = (3.0, ratios["wall"]) if gpu else (1.0, ratios["cpu"])
    said = "met" if ratio >= goal else "missed"
    print(f"loop / ours = {ratios['wall']:.2f} (processor {ratios['cpu']:.2f}); goal {goal:g}: {said}")
    print(
        f"{args.classes} classes of {args.per_class}, {args.images_per_class} images a class, factor {args.factor}, "
        f"{args.channels}x{args.side}x{args.side}, width {args.width}, real batch {args.real_batch}, {args.precision}"
        f"{', compiled' if args.compile else ''}, {args.steps} steps, n = {args.rounds}; "
        f"{hardware()}, Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
