"""What overhearing losses and features costs a training step of ResNet-18.

    python recipes/benchmarks/tap.py

The taps act on every call of a torch function, whatever its size; so their cost is measured where the arithmetic is
small enough to show it (two images of 16 x 16), as the difference of steps with and without them in turn, and set
against the time of a step at full size. Median and quartiles over the pairs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.callbacks.listening import InputTap, LossTap
from dynsel.models import build_model


def step(model: nn.Module, images: Tensor, targets: Tensor, tap: bool) -> float:
    """Seconds of forward and backward."""
    features = InputTap(model, None) if tap else None
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    with LossTap(len(images)) if tap else nullcontext():
        if features is not None:
            features.active = True
        F.cross_entropy(model(images), targets, label_smoothing=0.1).backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if features is not None:
        features.remove()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    print(f"{options} on {name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    torch.manual_seed(0)
    model = build_model("resnet18", num_classes=10).to(device)

    def batch(size: int, side: int) -> tuple[Tensor, Tensor]:
        return torch.rand(size, 3, side, side, device=device), torch.randint(10, (size,), device=device)

    small, full = batch(2, 16), batch(options.batch_size, 32)
    for tap in (False, True):
        step(model, *small, tap)
    differences = [step(model, *small, True) - step(model, *small, False) for _ in range(options.pairs)]
    step(model, *full, False)
    whole = statistics.median(step(model, *full, False) for _ in range(5))
    low, median, high = statistics.quantiles(differences, n=4)
    print(
        f"taps: {1e3 * median:.2f} ms a step (quartiles {1e3 * low:.2f}, {1e3 * high:.2f}, n = {options.pairs}), "
        f"{100 * median / whole:.2f} % of a step of {options.batch_size} images ({1e3 * whole:.0f} ms)"
    )


if __name__ == "__main__":
    main()
