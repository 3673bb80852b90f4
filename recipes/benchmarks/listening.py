"""What listening to a training step costs, per rule of the chain.

    python recipes/benchmarks/listening.py
    python recipes/benchmarks/listening.py --training 600

Two steps of training: a ResNet-18 on 16 images of 32 x 32, and a transformer of 4 layers, width 128, on 8 sequences of
64 tokens with a vocabulary of 32,000. Listening costs time for each call of a torch function, whatever the size of its
arguments: measured where the arithmetic is small enough to show it, as the difference of forward passes with and
without it. It costs what is computed of the samples before and after the backward pass: measured at full size. And it
costs what hooks do inside the backward pass, as norms of gradients: the median difference of backward passes with and
without it, one after the other in either order. All together is set against the step. Times are of the processor.

These calls find everything in the processor's caches. With `--training` a Trainer trains the small residual network of
recipes/cifar10/small.yaml on batches of 256 random images, and listens for Hybrid to about half of the steps, drawn at
random: what these take longer than the others, ± two standard errors, is all that listening costs there.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset

from dynsel import DynamicSelection
from dynsel._lib.quiet import quiet
from dynsel.callbacks.listening import Listener
from dynsel.models import ImageClassifier, build_model
from dynsel.selectors import Hybrid, Random

VOCABULARY = 32_000
RULES = (
    "usual loss",
    "usual loss, and Hybrid's entropy",
    "mean written by hand",
    "sum by a matrix product",
    "gradient norm",
)
Step = Callable[[Any], Tensor]


class Losses(Random):
    """Asks for losses only."""

    wants = frozenset({"per_sample_loss"})


class Transformer(nn.Module):
    """4 layers of width 128 and a head over the vocabulary."""

    def __init__(self, words: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
        self.embed, self.layers = nn.Embedding(words, 128), nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(128, words)

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


def product(losses: Tensor) -> Tensor:
    """Their mean by a product with ones, for which every operation is followed at every step."""
    return losses.flatten() @ torch.ones(losses.numel()) / losses.numel()


def settings(name: str, *, small: bool) -> tuple[nn.Module, tuple[Tensor, Tensor], dict[str, tuple[Any, Step]]]:
    """Network, batch and, for each rule, a selector and a step; small ones make as many calls."""
    images, words = name == "resnet", 10 if small else VOCABULARY
    net = build_model("resnet18", num_classes=10) if images else Transformer(words)
    count, side = (2, 16) if small else (16, 32)
    x = torch.rand(count, 3, side, side) if images else torch.randint(words, (2, 4) if small else (8, 64))
    y = torch.randint(10, (count,)) if images else torch.randint(words, x.shape)
    rows = (lambda z: z) if images else (lambda z: z.flatten(0, 1))
    usual: Step = lambda b: F.cross_entropy(rows(net(b[0])), b[1].flatten())  # noqa: E731
    return (
        net,
        (x, y),
        {
            "usual loss": (Losses(), usual),
            "usual loss, and Hybrid's entropy": (Hybrid(), usual),
            "mean written by hand": (Losses(), lambda b: log_likelihood(net(b[0]), b[1]).mean()),
            "sum by a matrix product": (Losses(), lambda b: product(log_likelihood(net(b[0]), b[1]))),
            "gradient norm": (Losses(), lambda b: Fused.apply(net(b[0]))),
        },
    )


def forward(step: Step, batch: Any, hearing: Listener | None) -> float:
    """Seconds of the forward pass, as listened to."""
    if hearing is not None:
        hearing.begin_batch(0, len(batch[0]), None, batch)
    start = time.process_time()
    loss = step(batch)
    seconds = time.process_time() - start
    if hearing is not None:
        hearing.before_backward(loss)
        loss.backward()
        hearing.end_batch({"loss": loss}, batch)
    return seconds


def beside(step: Step, batch: Any, hearing: Listener | None) -> tuple[float, float, float]:
    """Seconds of a step, of what is done in it before and after the passes, and of the backward pass."""
    begin = time.process_time()
    if hearing is not None:
        hearing.begin_batch(0, len(batch[0]), None, batch)
    extra = time.process_time() - begin
    loss = step(batch)
    start = time.process_time()
    if hearing is not None:
        hearing.before_backward(loss)
    extra += time.process_time() - start
    start = time.process_time()
    loss.backward()
    back, start = time.process_time() - start, time.process_time()
    if hearing is not None:
        hearing.end_batch({"loss": loss}, batch)
    return time.process_time() - begin, extra + time.process_time() - start, back


def cost(name: str, rule: str, pairs: int) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    net, batch, rules = settings(name, small=False)
    selector, step = rules[rule]
    few = settings(name, small=True)
    small = few[2][rule][1]
    with Counting() as counting:
        small(few[1])
    near, far = Listener(selector, few[0]), Listener(selector, net)
    for _ in range(3):
        forward(small, few[1], near)
    both = [(forward(small, few[1], near), forward(small, few[1], None)) for _ in range(20 * pairs)]
    # The smallest of many: what other programs do to the caches only ever adds.
    mode = min(a for a, _ in both) - min(b for _, b in both)
    for _ in range(2):
        beside(step, batch, far)
    runs: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    for k in range(pairs):
        for listens in (True, False) if k % 2 else (False, True):
            runs[listens].append(beside(step, batch, far if listens else None))
    near.close()
    far.close()
    extra = statistics.median(run[1] for run in runs[True]) + mode
    hooks = statistics.median(a[2] - b[2] for a, b in zip(runs[True], runs[False], strict=True))
    whole = statistics.median(run[0] for run in runs[False])
    return (
        f"| {name} | {rule} | {whole * 1e3:.0f} | {counting.calls} | {mode * 1e6 / counting.calls:.1f} | "
        f"{extra * 1e3:.2f} | {hooks * 1e3:.2f} | {(extra + hooks) / whole:.2%} |"
    )


# ---------------------------------------------------------------- in a training
class Sometimes(DynamicSelection):
    """Listens to steps as drawn, and keeps the seconds of each: until the backward pass, and of all of it."""

    def __init__(self) -> None:
        super().__init__(budget=1.0)
        self.seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        self._draws = random.Random(0)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.listens = trainer.global_step < WARM or self._draws.random() < 0.5
        self._since = time.process_time()
        if self.listens:
            super().on_train_batch_start(trainer, *args)

    def on_before_backward(self, *args: Any) -> None:
        self._forward = time.process_time() - self._since
        if self.listens:
            super().on_before_backward(*args)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self.listens:
            super().on_train_batch_end(trainer, *args)
        if trainer.global_step > WARM:
            self.seconds[self.listens].append((self._forward, time.process_time() - self._since))


WARM, LEAST = 10, 100  # steps at first, all of them listened to; fewer steps in all tell nothing


def training(steps: int) -> str:
    """A row for the forward pass, and one for the whole step."""
    pl.seed_everything(0, verbose=False)
    images = torch.randint(256, (4096, 3, 32, 32), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(images, torch.randint(10, (4096,))), 256, shuffle=True)
    module, selection = ImageClassifier("small_resnet", 10, width=16, crop_padding=2), Sometimes()
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    length: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "accelerator": "cpu", "enable_model_summary": False}
    with quiet():
        pl.Trainer(callbacks=[selection], **silent, **length).fit(module, loader)
    rows = []
    for place, part in enumerate(("forward pass", "step")):
        on, off = ([1e3 * pair[place] for pair in selection.seconds[listens]] for listens in (True, False))
        more = statistics.fmean(on) - statistics.fmean(off)
        error = (statistics.variance(on) / len(on) + statistics.variance(off) / len(off)) ** 0.5
        share = f"{more / statistics.fmean(off):.1%}"
        rows.append(f"| {part} | {statistics.fmean(off):.1f} | {more:.1f} ± {2 * error:.1f} | {share} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--training", type=int, default=0, metavar="STEPS", help="train so many steps instead")
    options = parser.parse_args()
    if 0 < options.training < LEAST:
        parser.error(f"--training must be at least {LEAST} steps, got {options.training}")
    print(f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, {options}")
    if options.training:
        print("| of a training | without, ms | listening adds, ms | share |")
        print("|---|---:|---:|---:|")
        print(training(options.training))
        return
    print("| step | rule | step, ms | calls | µs a call | beside the passes, ms | in the backward pass, ms | share |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name in ("resnet", "transformer"):
        for rule in RULES:
            print(cost(name, rule, options.pairs), flush=True)


if __name__ == "__main__":
    main()
