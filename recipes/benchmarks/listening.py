"""What listening to a training step costs, per rule of the chain.

    python recipes/benchmarks/listening.py

Two steps of training: a ResNet-18 of 128 images of 32 x 32, and a transformer of 4 layers, width 128, on 8 sequences of
64 tokens with a vocabulary of 32,000. Each rule listens to both; listening costs time for each call of a torch
function, whatever the size of its arguments, and for what is computed of the samples. So the cost is the median of
differences between steps with and without it, in turn, and is set against the median step.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dynsel.callbacks.listening import Listener
from dynsel.models import build_model
from dynsel.selectors import Hybrid, Random

VOCABULARY = 32_000
Step = Callable[[Any], Tensor]


class Losses(Random):
    """Asks for losses only."""

    wants = frozenset({"per_sample_loss"})


class Transformer(nn.Module):
    """4 layers of width 128 and a head over the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
        self.embed, self.layers = nn.Embedding(VOCABULARY, 128), nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(128, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.embed(ids)))
        return logits


class Counting(TorchFunctionMode):
    """Counts calls of torch functions."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


class Fused(torch.autograd.Function):
    """A squared error of its own kernel, whose parts nobody hears."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square().mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x * (2 * gradient / x.numel())


def log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy by hand, of each row."""
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def settings(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor], dict[str, tuple[Any, Step]]]:
    """Network, batch and, for each rule, a selector and a step."""
    images = name == "resnet"
    net = build_model("resnet18", num_classes=10) if images else Transformer()
    x = torch.rand(128, 3, 32, 32) if images else torch.randint(VOCABULARY, (8, 64))
    y = torch.randint(10, (128,)) if images else torch.randint(VOCABULARY, (8, 64))
    rows = (lambda z: z) if images else (lambda z: z.flatten(0, 1))
    usual: Step = lambda b: F.cross_entropy(rows(net(b[0])), b[1].flatten())  # noqa: E731
    rules = {
        "usual loss": (Losses(), usual),
        "usual loss, and Hybrid's entropy": (Hybrid(), usual),
        "mean written by hand": (Losses(), lambda b: log_likelihood(net(b[0]), b[1]).mean()),
        "gradient norm": (Losses(), lambda b: Fused.apply(net(b[0]))),
    }
    return net, (x, y), rules


def seconds(net: nn.Module, batch: Any, step: Step, listener: Listener | None) -> float:
    """Of one training step without its optimizer."""
    net.zero_grad()
    start = time.perf_counter()
    if listener is not None:
        listener.begin_batch(0, len(batch[0]), None, batch)
    loss = step(batch)
    if listener is not None:
        listener.before_backward(loss)
    loss.backward()
    if listener is not None:
        listener.end_batch({"loss": loss}, batch)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    print(f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, {options}")
    print("| step | rule | step, ms | listening, ms | share | calls | µs a call | first batch, ms |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name in ("resnet", "transformer"):
        torch.manual_seed(0)
        net, batch, rules = settings(name)
        for rule, (selector, step) in rules.items():
            with Counting() as counting:
                step(batch)
            listener = Listener(selector, net)
            plain = seconds(net, batch, step, None)
            first = seconds(net, batch, step, listener) - plain
            seconds(net, batch, step, listener)
            pairs = [(seconds(net, batch, step, None), seconds(net, batch, step, listener)) for _ in range(options.pairs)]
            listener.close()
            plain = statistics.median(a for a, _ in pairs)
            extra = statistics.median(b - a for a, b in pairs)
            print(
                f"| {name} | {rule} | {plain * 1e3:.0f} | {extra * 1e3:.2f} | {extra / plain:.2%} | {counting.calls} | "
                f"{extra * 1e6 / counting.calls:.1f} | {first * 1e3:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
