"""Extraction of CIFAR-10's features by a pretrained ResNet-56: is it right, and is it as fast as a bare loop?

    python recipes/benchmarks/features.py --root data

Extracts the 60,000 images, prints the accuracy of the network's own classifier on the test features (93.39 % if the
preprocessing is right), and then times extraction against a plain loop over the same model with a DataLoader, in
turns. `root` holds CIFAR-10 in any form that `CIFAR10DataModule` reads, and cifar10-resnet56.safetensors.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from dynsel.data import CIFAR10DataModule, TensorImages
from dynsel.features import load_features
from dynsel.features.extract import extract
from dynsel.features.extractors import ModuleInput
from dynsel.models import CIFARResNet

BATCH = 256
# Statistics of the pretrained network, not of the data.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def encoder(root: Path) -> ModuleInput:
    return ModuleInput(CIFARResNet(56), str(root / "cifar10-resnet56.safetensors"), mean=MEAN, std=STD)


def bare_loop(dataset: Any, extractor: ModuleInput, path: Path, workers: int) -> None:
    """What one would write by hand: the same model up to the same layer, float16, one file at the end."""
    net = extractor.model.eval()
    rows: list[torch.Tensor] = []
    handle = net.linear.register_forward_pre_hook(lambda _, args: rows.append(args[0].half()))
    with torch.inference_mode():
        for images, _ in DataLoader(dataset, BATCH, num_workers=workers, collate_fn=TensorImages.collate):
            net(extractor.normalize(images))
    handle.remove()
    np.save(path, torch.cat(rows).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--cycles", type=int, default=5, help="number of timed cycles")
    parser.add_argument("--images", type=int, default=4096, help="for the timing")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no_train", action="store_true", help="leave the 50,000 training images out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = CIFAR10DataModule(options.root)
    data.setup("fit")
    extractor = encoder(options.root)
    with tempfile.TemporaryDirectory(prefix="dynsel-features-") as name:
        folder = Path(name)
        for split, dataset in (("test", data.val_set), ("train", data.train_set)):
            if split == "train" and options.no_train:
                continue
            start = time.perf_counter()
            extract(dataset, extractor, folder / f"{split}.npy", batch_size=BATCH, num_workers=options.workers)
            seconds = time.perf_counter() - start
            rows = torch.tensor(load_features(folder / f"{split}.npy", dataset=dataset)).float()
            with torch.inference_mode():
                right = (extractor.model.linear(rows).argmax(1) == dataset.targets).float().mean()
            rate = len(dataset) / seconds
            print(
                f"{split}: {len(dataset):,} images, accuracy {100 * right:.2f} %, {seconds:.1f} s, {rate:.0f}/s",
                flush=True,
            )
        part = Subset(data.val_set, range(options.images))
        ratios, work_ratios, seconds_each = [], [], []
        for cycle in range(options.cycles):
            times = {}
            ways = ["bare", "ours"] if cycle % 2 else ["ours", "bare"]
            for way in ways:
                path = folder / f"{way}-{cycle}.npy"
                start, work = time.perf_counter(), time.process_time()
                if way == "bare":
                    bare_loop(part, extractor, path, options.workers)
                else:
                    extract(part, extractor, path, batch_size=BATCH, num_workers=options.workers)
                times[way] = time.perf_counter() - start, time.process_time() - work
            assert np.array_equal(np.load(folder / f"bare-{cycle}.npy"), np.load(folder / f"ours-{cycle}.npy"))
            ratios.append(times["bare"][0] / times["ours"][0])
            # On a busy machine the clock says little; with workers, this is the main process's part only.
            work_ratios.append(times["bare"][1] / times["ours"][1])
            seconds_each.append(times["ours"][0])
    said = ", ".join(
        f"{name} {statistics.median(values):.3f} ({min(values):.3f}, {max(values):.3f})"
        for name, values in (("wall clock", ratios), ("processor time", work_ratios))
    )
    print(
        f"speed against a bare loop, median (min, max) of {len(ratios)}: {said}; {options.images:,} images, batch "
        f"{BATCH}, {options.workers} workers, {options.threads} threads, {statistics.median(seconds_each):.1f} s each; "
        "same bytes"
    )


if __name__ == "__main__":
    main()
