"""Kill an extraction at random moments (SIGKILL), resume it each time, and compare with one that was left alone.

    python recipes/benchmarks/feature_kills.py --kills 20

Features of a small convolutional network on 2,000 random images, in blocks of 64. The finished store, array and
manifest, must be that of the extraction that was left alone, byte for byte, and never look whole before.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import torch

from dynsel.data import TensorImages
from dynsel.features import load_features
from dynsel.features.extract import extract
from dynsel.features.extractors import ModuleInput
from dynsel.models.resnet import SmallResNet


def write(path: Path, workers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = TensorImages(images, torch.arange(2000) % 10, [str(i) for i in range(10)])
    torch.manual_seed(0)
    extractor = ModuleInput(SmallResNet(10), mean=[0.5] * 3, std=[0.25] * 3)
    extract(data, extractor, path, batch_size=32, block_rows=64, num_workers=workers, accelerator="cpu")


def attempt(path: Path, workers: int, kill_after: float | None) -> bool:
    """One process of the extraction; True if it was killed. Forked, so that imports don't dominate the moment."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()  # its workers are killed with it
            write(path, workers)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("an extraction failed instead of being killed or finishing")
    return os.WIFSIGNALED(status)


def looks_whole(path: Path) -> bool:
    try:
        load_features(path)
    except FileNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    torch.set_num_threads(1)
    moments = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="dynsel-feature-kills-"))
    start = time.perf_counter()
    attempt(root / "alone.npy", options.workers, None)
    duration = time.perf_counter() - start
    kills = runs = equal = early = 0
    while kills < options.kills:
        path = root / f"run{runs}.npy"
        while attempt(path, options.workers, moments.uniform(0, 0.5 * duration)):
            kills += 1
            early += looks_whole(path) and path.with_name(f"{path.name}.part").exists()
            if kills >= options.kills:
                attempt(path, options.workers, None)
                break
        runs += 1
        files = [(root / f"{name}.npy{end}").read_bytes() for end in ("", ".json") for name in ("alone", path.stem)]
        equal += files[0] == files[1] and files[2] == files[3]
    shutil.rmtree(root)
    print(
        f"kills {kills}, runs {runs}, byte-identical to the one left alone {equal}, looked whole too early {early} "
        f"(workers {options.workers}, seed {options.seed}, {(time.perf_counter() - start) / 60:.1f} min)"
    )
    raise SystemExit(equal != runs or early)


if __name__ == "__main__":
    main()
