"""What test_ddp.py looks at, as each rank saw it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from support import Fixed, Listening, Module, SaveEvery, Sizes, fit, same_weights, selection, train_loader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.schedules import Constant
from dynsel.selection import Selection
from dynsel.selectors import (
    GSTDS,
    JEST,
    SELECTORS,
    AlignPrune,
    CandidateSelector,
    Full,
    Hybrid,
    Proxy,
    Random,
    ScoreSelector,
    Selector,
)

RESUMED = (24, 16, 40)  # nothing is padded on 1, 2 or 4 ranks
RANK, WORLD = 0, 1


class Orders(pl.Callback):
    """Notes each epoch's global order and who feeds it; listed after the selection."""

    def __init__(self, selection: DynamicSelection) -> None:
        self.selection = selection
        self.orders: list[list[int]] = []
        self.samplers: list[str] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.orders.append(self.selection.controller.sampler.draw().tolist())
        self.samplers.append(type(trainer.train_dataloader.sampler).__name__)


def train(chosen: DynamicSelection | None, *callbacks: Any, **options: Any) -> tuple[dict[str, Any], Module]:
    """Fit on all ranks; what was seen, and the module."""
    options = {"devices": WORLD, "strategy": "ddp", **options}
    orders = [] if chosen is None else [Orders(chosen)]
    extra = [] if chosen is None else [chosen]
    module, trainer = fit(*extra, *callbacks, *orders, **options)
    seen = {
        "seen": [module.seen[epoch] for epoch in sorted(module.seen)],
        "validated": module.validated,
        "steps": trainer.global_step,
    }
    if chosen is not None:
        seen |= {
            "orders": orders[0].orders,
            "samplers": orders[0].samplers,
            "usage": chosen.selector.usage.tolist(),
            "trained": [record.samples_trained for record in chosen.history],
        }
    return seen, module


# ---------------------------------------------------------------- what each rank trains on
def shards(folder: Path) -> Any:
    def run(sizes: tuple[int, ...] = (13, 40, 18), *, loader: Any = None, **options: Any) -> Any:
        return train(selection(sizes), max_epochs=len(sizes), loader=loader, **options)[0]

    return {
        "plain": run(),
        "drop_last": run(loader=train_loader(drop_last=True)),
        "accumulate": run(accumulate_grad_batches=2),
        "workers": run(loader=train_loader(num_workers=1, persistent_workers=True)),
        "fewer_than_ranks": run((1, 3, 5)),
        "order": run(loader=train_loader(shuffle=False)),
    }


class RankDependent(Fixed):
    """Would choose other samples on every rank."""

    def __init__(self) -> None:
        super().__init__(list(range(16 * RANK, 16 * RANK + 16)))


def rank_dependent_selector(folder: Path) -> Any:
    return train(DynamicSelection(RankDependent(), keep_ratio=0.5), max_epochs=2)[0]


def seeded_differently(folder: Path) -> Any:
    return train(selection((16, 16)), max_epochs=2, seed=5 + RANK)[0]


def full_equals_plain(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for drop_last in (False, True):
        # 39 samples: the last ones are filled up, in the same way.
        runs = [
            train(chosen, loader=train_loader(39, drop_last=drop_last), max_epochs=2)
            for chosen in (None, DynamicSelection(Full(), keep_ratio=0.5), DynamicSelection(Random(), Constant(1.0)))
        ]
        result[f"drop_last={drop_last}"] = {
            "seen": [seen["seen"] for seen, _ in runs],
            "same_weights": [same_weights(runs[0][1], module) for _, module in runs],
        }
    return result


# ---------------------------------------------------------------- feedback of all ranks
class OwnLosses(Module):
    """Notes the per-sample losses of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        logits = self(x)
        with torch.no_grad():
            self.losses.append(F.cross_entropy(logits, y, reduction="none").tolist())
        return F.cross_entropy(logits, y)


def feedback(folder: Path) -> Any:
    selector = Listening()
    module = OwnLosses()
    chosen = DynamicSelection(selector, Sizes((16, 40)))
    seen, _ = train(chosen, module=module, max_epochs=2)
    known = [told for told in selector.heard if told.per_sample_loss is not None]
    heard = [(told.indices.tolist(), told.per_sample_loss.tolist()) for told in known]
    return {**seen, "own": module.losses, "heard": heard}


# ---------------------------------------------------------------- a part of every batch
def loss_score(module: pl.LightningModule, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1], reduction="none")


def batch_fraction(folder: Path) -> Any:
    """Of every batch half stays; what the books say of it, and names of checkpoints resumed differently."""

    def run(*callbacks: Any, **options: Any) -> tuple[dict[str, Any], OwnLosses]:
        chosen = DynamicSelection(Listening(), Sizes((13, 40)))
        extra = [BatchFraction(0.5, loss_score), *callbacks]
        seen, module = train(chosen, *extra, module=OwnLosses(), max_epochs=2, **options)
        told = [
            (f.indices.tolist(), f.per_sample_loss.tolist())
            for f in chosen.selector.heard
            if f.per_sample_loss is not None
        ]
        return {**seen, "own": module.losses, "heard": told}, module

    saver = SaveEvery(folder / "fraction")
    whole, _ = run()
    saved, module = run(saver)
    different = []
    for path in saver.paths:
        again, resumed = run(ckpt_path=path, seed=2)
        if not same_weights(module, resumed) or again["usage"] != saved["usage"]:
            different.append(path.name)
    return {**whole, "checkpoints": len(saver.paths), "different": different}


class Captures(ScoreSelector):
    """Notes the features it is given."""

    needs_features = True

    def __init__(self) -> None:
        super().__init__()
        self.fits: list[Tensor] = []

    @property
    def ready(self) -> bool:
        return bool(self.fits)

    def fit(self, features: Tensor) -> None:
        self.fits.append(features.float().clone())

    def scores(self, progress: float) -> Tensor:
        return self.fits[0].norm(dim=1)


class Still(Module):
    """Does not learn, so that a sample's features are the same whenever they are captured."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


def capture(folder: Path) -> dict[str, Any]:
    selector, module = Captures(), Still()
    chosen = DynamicSelection(selector, Sizes((20, 20, 13)))
    seen, _ = train(chosen, module=module, max_epochs=3)
    with torch.no_grad():
        wanted = module.net[:3](train_loader().dataset.x)
    assert chosen.controller.sources.capture is not None
    return {
        **seen,
        "fits": len(selector.fits),
        "largest_error": max((float((got - wanted).abs().max()) for got in selector.fits), default=None),
        "top": wanted.half().float().norm(dim=1).topk(13).indices.tolist(),
        "done": chosen.controller.sources.capture.done,
    }


def methods(folder: Path) -> dict[str, Any]:
    """The epochs' selections by each method, and by all terms of the hybrid together."""
    # Those that choose from losses of the model in training cut each rank's own batches: not these, see `candidates`.
    # Nor those that go by the mean loss of a batch, which is that of each rank's own.
    known = {
        name: cls
        for name, cls in SELECTORS.items()
        if not issubclass(cls, CandidateSelector) and "batch_loss" not in cls.wants
    }
    everything = dict.fromkeys(
        ("uncertainty", "loss", "representativeness", "rarity", "witness", "boundary", "region"), 0.5
    )
    selectors = {name: cls() for name, cls in known.items()} | {
        "alignprune": AlignPrune(trusted=[5, 20]),
        "proxy": Proxy(model="support.Module"),
        "hybrid, all terms": Hybrid(terms=everything),
        "hybrid, refreshed": Hybrid(terms={"rarity": 0.5, "witness": 0.5}, refresh=1),
    }
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    chosen = {}
    for name, selector in selectors.items():
        given = "model" if name.endswith("refreshed") else features
        torch.manual_seed(4)  # the same weights wherever it is run
        # 24 of 40: nothing is padded on 1, 2 or 4 ranks.
        options = {"features": given, "per_sample_loss": loss_score if name == "proxy" else None}
        seen, _ = train(DynamicSelection(selector, 0.6, **options), module=Still(), max_epochs=5)
        chosen[name] = [sorted(order) for order in seen["orders"]]
    return chosen


def evidence(folder: Path) -> dict[str, Any]:
    """What the model says of the labels, of a model that doesn't learn."""
    torch.manual_seed(4)
    chosen = DynamicSelection("hybrid", 0.6)
    train(chosen, module=Still(), max_epochs=5)
    sums = chosen.controller.epochs.evidence.state_dict()
    return {name: numbers.tolist() for name, numbers in sums.items()} | {"usage": chosen.selector.usage.tolist()}


def candidates(folder: Path) -> dict[str, Any]:
    """Candidates loaded and cut on each rank; what the books say, and checkpoints resumed differently."""
    return {
        "jest": cut_and_resumed(folder / "jest", lambda: JEST(reference=torch.linspace(0, 1, 40))),
        "gstds": cut_and_resumed(folder / "gstds", GSTDS),
        "proxy": cut_and_resumed(folder / "proxy", lambda: Proxy(model="support.Module")),
    }


def cut_and_resumed(folder: Path, make: Callable[[], Selector]) -> dict[str, Any]:
    def run(*callbacks: Any, **options: Any) -> tuple[dict[str, Any], Module]:
        features = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
        chosen = DynamicSelection(
            make(), Sizes((20, 40, 13)), features=features, per_sample_loss=loss_score, count_flops=True
        )
        seen, module = train(chosen, *callbacks, module=Module(noise=True), max_epochs=3, **options)
        last = chosen.history[-1]
        return {**seen, "scored": last.samples_scored, "flops": last.flops}, module

    saver = SaveEvery(folder)
    whole, module = run(saver, seed=1 + 10 * RANK)
    different = []
    for path in saver.paths:
        again, resumed = run(ckpt_path=path, seed=2 + 10 * RANK)
        books = [again[key] == whole[key] for key in ("usage", "scored", "flops", "trained")]
        if not all(books) or not same_weights(module, resumed):
            different.append(path.name)
    return {**whole, "checkpoints": len(saver.paths), "different": different}


class Stream(IterableDataset[Any]):
    """Each rank reads every second sample."""

    def __iter__(self) -> Any:
        data = train_loader().dataset
        return (data[i] for i in range(RANK, 40, WORLD))


def stream(folder: Path) -> Any:
    fraction = BatchFraction(0.5, loss_score, selector="selective-backprop")
    return train(None, fraction, loader=DataLoader(Stream(), 5), max_epochs=2, val=False)[0]["seen"]


# ---------------------------------------------------------------- errors
class Locked(Exception):
    """Does not pickle."""

    def __init__(self) -> None:
        super().__init__("held by a lock")
        self.lock = threading.Lock()


class FailsOnRankZero(Random):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def select(self, progress: float, size: int) -> Selection:
        self.calls += 1
        if self.calls == 2 and RANK == 0:
            raise self.error
        return super().select(progress, size)


def errors(folder: Path) -> list[str]:
    messages = []
    for error in (ValueError("no more samples"), Locked()):
        try:
            train(DynamicSelection(FailsOnRankZero(error), keep_ratio=0.5), max_epochs=3)
        except Exception as caught:
            messages.append(f"{type(caught).__name__}: {caught}")
    return messages


class Stop(EarlyStopping):
    """Notes what the rank that looks sees."""

    def __init__(self) -> None:
        super().__init__("selection/coverage", mode="max", stopping_threshold=0.99, patience=100)
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics.items()
        self.seen.append({name: float(value) for name, value in metrics if name.startswith("selection/")})
        super().on_validation_end(trainer, pl_module)


def monitored(folder: Path) -> Any:
    stop = Stop()
    seen, _ = train(selection((20, 20, 20, 20)), stop, max_epochs=4)
    return {"steps": seen["steps"], "metrics": stop.seen}


# ---------------------------------------------------------------- resume
def resume_sweep(folder: Path) -> list[str]:
    """Names of the checkpoints from which the resumed run ended differently."""
    saver = SaveEvery(folder / "sweep")

    def run(*callbacks: Any, seed: int, ckpt_path: Any = None) -> Module:
        # Ranks draw different noise, each of which must continue.
        return train(
            selection((20, 13, 40)),
            *callbacks,
            module=Module(noise=True),
            max_epochs=3,
            seed=seed + 10 * RANK,
            ckpt_path=ckpt_path,
        )[1]

    whole = run(saver, seed=1)
    return [str(len(saver.paths))] + [p.name for p in saver.paths if not same_weights(whole, run(seed=2, ckpt_path=p))]


def save(folder: Path) -> Any:
    return train(selection(RESUMED), SaveEvery(folder / "worlds"), max_epochs=3)[0]


def resume(folder: Path) -> dict[str, Any]:
    """Continue every checkpoint that `save` left."""
    return {
        path.name: train(selection(RESUMED), max_epochs=3, ckpt_path=path)[0]
        for path in sorted((folder / "worlds").glob("*.ckpt"))
    }


def few_on_four(folder: Path) -> Any:
    return train(selection((13, 3, 18)), max_epochs=3)[0]


CHECKS = {
    2: [
        shards,
        rank_dependent_selector,
        seeded_differently,
        full_equals_plain,
        feedback,
        batch_fraction,
        stream,
        capture,
        methods,
        evidence,
        candidates,
        monitored,
        resume_sweep,
        save,
        errors,
    ],
    1: [resume, methods, evidence],
    4: [few_on_four, resume, methods],
}
