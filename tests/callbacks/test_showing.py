"""What a training shows of its selection: monitored metrics, progress bar, images in loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from support import Indexed, Module, fit, same_weights, selection, train_loader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynsel.callbacks import DynamicSelection
from dynsel.usage import coverage, gini

NAMES = ("keep_ratio", "coverage", "usage_gini", "samples_trained")


class Watch(pl.Callback):
    """Notes the metrics of the selection wherever a monitor may look."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, float]]] = []
        self.bar: list[dict[str, float]] = []

    def _note(self, where: str, trainer: pl.Trainer) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("selection/")}
        self.seen.append((where, metrics))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note("validation", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note("epoch", trainer)
        self.bar.append({k: float(v) for k, v in trainer.progress_bar_metrics.items() if k in ("keep", "seen")})


@pytest.mark.parametrize("val", [True, False])
def test_metrics_are_those_of_the_epochs_record_without_a_logger(val: bool) -> None:
    callback, watch = selection(prog_bar=True), Watch()
    fit(callback, watch, val=val)
    found = [metrics for where, metrics in watch.seen if where == "epoch"]
    wanted = [{f"selection/{name}": float(getattr(record, name)) for name in NAMES} for record in callback.history]
    assert found == wanted
    assert watch.bar == [{"keep": record.keep_ratio, "seen": record.coverage} for record in callback.history]


def test_the_bar_shows_nothing_unasked() -> None:
    watch = Watch()
    fit(selection(), watch)
    assert watch.bar == [{}] * 4


def test_a_monitor_at_validation_sees_what_was_trained_on_until_then() -> None:
    callback, watch = DynamicSelection("random", keep_ratio=0.5), Watch()
    stop = EarlyStopping("selection/coverage", mode="max", stopping_threshold=0.99, patience=100)
    _, trainer = fit(callback, stop, watch, max_epochs=10)
    # Random subsets of a half have covered all after two epochs.
    assert trainer.current_epoch == 2
    assert [metrics["selection/coverage"] for where, metrics in watch.seen if where == "validation"] == [0.5, 1.0]


def test_looking_changes_nothing() -> None:
    stop = EarlyStopping("selection/coverage", mode="max", patience=100)
    options: dict[str, Any] = {"val_check_interval": 2}
    plain, _ = fit(DynamicSelection(keep_ratio=0.5), **options)
    watched, _ = fit(DynamicSelection(keep_ratio=0.5, prog_bar=True), stop, **options)
    assert same_weights(plain, watched)


def test_checkpoints_are_kept_and_named_by_the_selection(tmp_path: Path) -> None:
    best = ModelCheckpoint(
        tmp_path, "{selection/samples_trained:.0f}", "selection/usage_gini", mode="min", save_top_k=1
    )
    callback = selection()
    fit(callback, best, enable_checkpointing=True)
    assert best.best_model_score == pytest.approx(min(record.usage_gini for record in callback.history))
    assert "selection/samples_trained=" in str(best.best_model_path)


def test_values_are_those_of_the_usage() -> None:
    callback = selection()
    _, trainer = fit(callback)
    usage, metrics = callback.selector.usage, trainer.callback_metrics
    assert float(metrics["selection/coverage"]) == coverage(usage)
    assert float(metrics["selection/usage_gini"]) == gini(usage)
    assert int(metrics["selection/samples_trained"]) == int(usage.sum())


def test_barebones_shows_nothing() -> None:
    plain = {"logger": None, "enable_checkpointing": None, "enable_progress_bar": None, "enable_model_summary": None}
    watch = Watch()
    fit(selection(prog_bar=True), watch, val=False, barebones=True, num_sanity_val_steps=None, **plain)
    assert [metrics for _, metrics in watch.seen] == [{}] * 4


# -------------------------------------------------------------------- images
class Pictures(Dataset[Any]):
    """Noise with a class, flipped at random as augmentation does."""

    targets = torch.arange(40) % 2

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
        image = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(i))
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), int(self.targets[i]), i


class OnPictures(Module):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean((1, 2, 3))[:, None].expand(-1, 4))


class Wandb(DummyLogger):
    """Takes images as Lightning's WandbLogger does."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, Any, int]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.images.append((key, images, step or 0))


def on_pictures(logger: Any, **options: Any) -> Any:
    loader = DataLoader(Pictures(), 4, shuffle=True)
    callback = selection(sizes=(12, 40, 20, 8), **options)
    module, _ = fit(callback, module=OnPictures(), loader=loader, val=False, logger=logger)
    return module


def test_every_second_epoch_wandb_gets_images_and_uses() -> None:
    logger = Wandb()
    on_pictures(logger, log_images_every=2)
    assert [(key, step) for key, _, step in logger.images] == [
        ("selection/uses", 13),
        ("selection/images", 13),
        ("selection/uses", 20),
        ("selection/images", 20),
    ]
    for _, images, _ in logger.images:
        assert images[0].dtype == np.uint8
        assert images[0].ndim == 3
        assert images[0].std() > 5


def test_tensorboard_gets_a_histogram_and_images(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    on_pictures(TensorBoardLogger(tmp_path), log_images_every=4)
    found = events.EventAccumulator(str(next(tmp_path.rglob("events.*")).parent), size_guidance={"images": 0}).Reload()
    assert [event.step for event in found.Images("selection/images")] == [20]
    assert found.Images("selection/images")[0].width > 500
    assert found.Histograms("selection/uses")[0].histogram_value.num == 40


def test_drawing_changes_nothing_and_off_is_off() -> None:
    quiet, drawing = Wandb(), Wandb()
    assert same_weights(on_pictures(quiet), on_pictures(drawing, log_images_every=1))
    assert quiet.images == []
    assert len(drawing.images) == 8


def test_without_images_there_is_the_histogram_alone() -> None:
    logger = Wandb()
    fit(selection(log_images_every=4), logger=logger, val=False)
    assert [key for key, _, _ in logger.images] == ["selection/uses"]


@pytest.mark.parametrize(
    ("options", "text"),
    [({"log_images_every": -1}, "`log_images_every` must be .*at least 0"), ({"prog_bar": 1}, "`prog_bar` must be")],
)
def test_what_is_no_option(options: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        DynamicSelection(**options)


def test_a_run_without_labels_says_once_how_to_give_them(caplog: pytest.LogCaptureFixture) -> None:
    class Unlabelled(Indexed):
        def __getattribute__(self, name: str) -> Any:
            if name == "targets" and not self.__dict__.get("inside"):
                raise AttributeError(name)
            return super().__getattribute__(name)

        def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
            return self.x[i], i % 2, i

    said = "no class labels found, so `class_balance` isn't logged"
    with caplog.at_level("INFO"):
        fit(selection(), loader=DataLoader(Unlabelled(), 4, shuffle=True), val=False)
    assert caplog.text.count(said) == 1
    caplog.clear()
    with caplog.at_level("INFO"):
        fit(selection(), loader=train_loader(), val=False)
    assert said not in caplog.text
