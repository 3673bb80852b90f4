"""The Lightning callback: dynamic data selection for any LightningModule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dynsel._lib.batches import batch_size, cross_entropy, cut, scored
from dynsel._lib.operations import FlopTap, can_count
from dynsel.callbacks.lightning_driver import Bridge, Callback, change_train_batches
from dynsel.callbacks.listening import InputTap, LossTap
from dynsel.samplers.controller import EpochRecord, SelectionController
from dynsel.schedules import Schedule
from dynsel.selectors import BatchSelector, CandidateSelector, Proxy, Selector

__all__ = ["DynamicSelection"]

ScoreFunction = Callable[[pl.LightningModule, Any], Tensor]


class DynamicSelection(Callback):
    """Trains each epoch on a selection of the training set, chosen anew every epoch.

    Add it to the Trainer's callbacks; the LightningModule, the DataModule and the loaders stay as they are. The
    train loader's samples must be selectable by index (a map-style data set); its sampler's order is kept.

    Logged at the end of each epoch, under `selection/`: keep_ratio, coverage (share of samples used so far),
    usage_gini, class_balance, selection_seconds with its part fit_seconds, data_seconds (waiting for batches),
    samples_trained and samples_scored (all epochs together), with `count_flops` also flops and selection_flops; see
    `dynsel.samplers.EpochRecord`.

    Args:
        selector: What decides; a `Selector` or a short name ("random", "rrd", ...). Default: `Hybrid`.
        keep_ratio: Share of the training set that an epoch trains on, in (0, 1]; a number or a
            `dynsel.schedules.Schedule` over the progress of training.
        features: For selectors that need features: an (N, d) array or tensor, row i describing sample i; the path
            of a `.npy` or `.npz` file; "pixels"; "model" (default: captured in training, at no extra forward
            pass, from the input of the last linear layer) or "model:NAME" for another submodule's input.
        labels: (N,) class labels; default: the data set's own.
        per_sample_loss: For selectors that want losses, `Hybrid` among them where there are no logits: a function of
            (module, batch) that returns (B,) losses, called without gradient. Default: the key `per_sample_loss` of
            what `training_step` returns, else overheard from the loss function that `training_step` calls. Selectors
            that score candidates by a forward pass of their own (`JEST`, `SelectiveBackprop`, `Proxy`): the cross
            entropy of (inputs, targets).
        loader: Which loader, by key or position, where `train_dataloader` gives several.
        seed: Seed of selection and order; default: that of `seed_everything`.
        count_flops: Count floating-point operations, of one batch by torch's counter, and log them.

    Raises:
        ValueError: If `keep_ratio` leaves (0, 1].
        TypeError: If `selector` is no selector.

    Example:
        >>> from dynsel.callbacks import DynamicSelection
        >>> callback = DynamicSelection("random", keep_ratio=0.3)
        >>> # Trainer(callbacks=[callback]).fit(your_module, your_datamodule)
    """

    def __init__(
        self,
        selector: Selector | str | None = None,
        keep_ratio: float | Schedule = 0.5,
        *,
        features: Any = None,
        labels: Any = None,
        per_sample_loss: ScoreFunction | None = None,
        loader: str | int | None = None,
        seed: int | None = None,
        count_flops: bool = False,
    ) -> None:
        self.controller = SelectionController(selector, keep_ratio, features=features, labels=labels, seed=seed)
        self._score = per_sample_loss
        self._loader_key = loader
        self._trainer: pl.Trainer | None = None
        self._bridge: Bridge | None = None
        self._loss_tap: LossTap | None = None
        self._loss_tap_open = False
        self._input_tap: InputTap | None = None
        self._undo_cut: Callable[[], None] | None = None
        self._flop_tap: FlopTap | None = None
        self.count_flops = count_flops

    # ---------------------------------------------------------------- for the user
    @property
    def selector(self) -> Selector:
        """The selector in use."""
        return self.controller.selector

    @property
    def cuts_batches(self) -> bool:
        """Whether the selector chooses inside batches."""
        return isinstance(self.selector, BatchSelector | CandidateSelector)

    @property
    def history(self) -> list[EpochRecord]:
        """One record a finished epoch."""
        return self.controller.history

    def wrap(self, loader: Any) -> Any:
        """Nothing to do under Lightning: returns the loader; the callback finds it by itself."""
        return loader

    def indices(self, batch_idx: int) -> Tensor:
        """(B,) int64 data set indices of this rank's batch of the current epoch."""
        return self.controller.indices(batch_idx)

    def weights(self, batch_idx: int) -> Tensor | None:
        """(B,) float32 loss weights of that batch, or None if all are 1.

        The usual losses are weighted without being asked to. Whoever asks for the weights in `training_step`,
        before computing the loss, takes over: the loss is then left alone.
        """
        if self._loss_tap is not None and self._loss_tap_open and not self._loss_tap.calls:
            self._loss_tap.weights = None
        return self.controller.weights(batch_idx)

    def total_steps(self, max_epochs: int, accumulate_grad_batches: int = 1) -> int:
        """Optimiser steps of a whole fit, for those who set up a scheduler by hand, once the fit has started."""
        return self.controller.total_steps(max_epochs, accumulate_grad_batches)

    @property
    def state_key(self) -> str:
        return self._generate_state_key(loader=self._loader_key)

    # ---------------------------------------------------------------- in and out
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if self._trainer is not None and self._trainer is not trainer:
            self.controller.forget()
        self._trainer, self._bridge = trainer, Bridge(trainer)
        controller, bridge = self.controller, self._bridge
        controller.progress, controller.progress_after = bridge.progress, bridge.progress_after
        controller.batches_trained = lambda: bridge.batches_trained(controller.sampler.delivered)
        controller.too_early = lambda: bridge.loading
        controller.on_new_epoch = bridge.refresh
        controller.before_begin = bridge.before_first_batch
        controller.armed = False
        bridge.install(self._select_from, self._batches_for_estimate)
        vars(trainer)["selection"] = self
        self._lend_training(trainer, pl_module)
        if controller.cuts_batches:
            self._undo_cut = change_train_batches(
                trainer,
                pl_module,
                lambda batch, i: self._cut(trainer, pl_module, batch, i),
                by=type(self.selector).__name__,
            )

    def _lend_training(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """For selectors that train a network of their own: data, device and precision of this training."""
        controller = self.controller
        controller.count_flops = self.count_flops
        controller.score = self._score or cross_entropy
        controller.device = lambda: trainer.strategy.root_device
        controller.to_device = lambda batch: trainer.strategy.batch_to_device(batch)
        controller.precision = trainer.precision_plugin.train_step_context
        if isinstance(self.selector, Proxy):
            self.selector.follow(pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bridge is not None:
            # A checkpoint of the very last batch has nothing left to train: no hook ended its epoch.
            self.controller.finish_epoch()
        self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        self._close()
        if vars(trainer).get("selection") is self:
            del vars(trainer)["selection"]
        if self._undo_cut is not None:
            self._undo_cut()
            self._undo_cut = None
        if self._bridge is not None:
            self._bridge.uninstall()
            self._bridge = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # Lightning does not call `teardown` after an exception.
        self._leave(trainer)

    def _close(self) -> None:
        self._close_loss_tap()
        self._close_flop_tap()
        if self._input_tap is not None:
            self._input_tap.remove()
            self._input_tap = None

    # ---------------------------------------------------------------- the loader
    def _select_from(self, loaders: Any) -> Any:
        trainer: Any = self._trainer
        if self._bridge is None or self._bridge.overfits:
            rank_zero_warn("DynamicSelection: `overfit_batches` is set, so the selection is off.")
            return loaders
        result = self._bridge.combined(loaders)
        flat = list(result.flattened)
        place = self._which(result.iterables, len(flat))
        ranks = trainer.distributed_sampler_kwargs or {}
        # On several ranks Lightning permutes for training, whatever the loader does.
        flat[place] = self.controller.wrap(
            flat[place], num_replicas=ranks.get("num_replicas", 1), rank=ranks.get("rank", 0), shuffle=True
        )
        self.controller.sampler.planning = True
        result.flattened = flat
        return result

    def _which(self, loaders: Any, count: int) -> int:
        key = self._loader_key
        if count == 1:
            return 0
        names = list(loaders) if isinstance(loaders, dict) and len(loaders) == count else []
        places = [*names, *range(count)]
        if key not in places:
            problem = "several train loaders" if key is None else f"no train loader {key!r}"
            raise ValueError(f"{problem}; say which one to select from by `loader=`, one of {names or places}")
        return places.index(key) % count

    def _batches_for_estimate(self) -> int | None:
        trainer, bridge = self._trainer, self._bridge
        if trainer is None or bridge is None or trainer.max_epochs in (None, -1) or bridge.overfits:
            return None
        steps = self.controller.plan(trainer.max_epochs, trainer.max_steps, bridge.optimizer_steps)
        return bridge.batches_for_estimate(steps, trainer.max_epochs)

    # ---------------------------------------------------------------- epochs
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.controller.armed = self._bridge is not None and not self._bridge.overfits
        if self._needs_inputs:
            capture = self.controller.capture
            self._input_tap = InputTap(pl_module, None if capture is None else capture.module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.controller.armed:
            self.controller.ensure_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_loss_tap()
        self._close_flop_tap()
        if not self.controller.armed:
            return
        record = self.controller.finish_epoch()
        if record is not None and not trainer.barebones:
            metrics = {f"selection/{k}": v for k, v in vars(record).items() if k != "epoch" and not math.isnan(v)}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.controller.flush()
        self.controller.armed = False
        if self.controller.gathers_features and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_warn(
                f"DynamicSelection: training ended before {type(self.selector).__name__} had the features of every "
                "sample, so its scores were never used. Train for more epochs, or give features by `features=FILE`."
            )

    def _cut(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> Any:
        """The part of a batch of candidates that its losses select."""
        if not self.controller.armed or batch is None:
            return batch
        size, draws = batch_size(batch), (trainer.current_epoch, batch_idx, trainer.global_rank)
        kept = self.controller.cut(batch_idx, size, lambda: self._losses_of(pl_module, batch, size, draws))
        return batch if kept is None else cut(batch, kept, size)

    def _losses_of(self, pl_module: pl.LightningModule, batch: Any, size: int, draws: tuple[int, ...]) -> Tensor:
        with self.counting_scoring(pl_module, size):
            return scored(self._score or cross_entropy, pl_module, batch, size, key=draws)

    @contextmanager
    def counting_scoring(self, pl_module: pl.LightningModule, size: int) -> Iterator[None]:
        """Count the operations of what scores the `size` samples of a batch, once, if operations are counted."""
        if not self.count_flops or self.controller.flops_scored is not None or not can_count(pl_module):
            yield
            return
        with FlopTap() as tap:
            yield
        self.controller.flops_scored = tap.total / size

    # ---------------------------------------------------------------- feedback
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.controller.armed:
            return
        self._close_loss_tap()
        self._close_flop_tap()
        if self._input_tap is not None:
            self._input_tap.calls.clear()
            self._input_tap.active = True
        if self.count_flops and self.controller.flops_trained is None and can_count(pl_module):
            self._flop_tap = FlopTap().__enter__()
        weights = self.controller.weights(batch_idx)
        if weights is not None or self._overhears:
            self._loss_tap = LossTap(len(self.controller.indices(batch_idx)), weights)
            self._loss_tap.__enter__()  # type: ignore[no-untyped-call]
            self._loss_tap_open = True

    @property
    def _overhears(self) -> bool:
        wants = self.selector.wants
        return "value" in wants or ("per_sample_loss" in wants and self._score is None)

    @property
    def _needs_inputs(self) -> bool:
        capture = self.controller.capture
        return self.selector.measures_features or (capture is not None and not capture.done)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        # What follows is no concern of ours and shouldn't pay for being listened to. With manual optimization
        # there may be another loss after this one, which must not go unnoticed.
        if pl_module.automatic_optimization:
            self._close_loss_tap()

    def _close_loss_tap(self) -> None:
        if self._loss_tap is not None and self._loss_tap_open:
            self._loss_tap.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._loss_tap_open = False
        if self._input_tap is not None:
            self._input_tap.active = False

    def _close_flop_tap(self) -> None:
        if self._flop_tap is not None:
            self._flop_tap.close()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.controller.armed:
            return
        self._close_loss_tap()
        if self._flop_tap is not None:
            self._close_flop_tap()
            self.controller.flops_trained = self._flop_tap.total / len(self.controller.indices(batch_idx))
            self._flop_tap = None
        tap, self._loss_tap = self._loss_tap, None
        inputs, loss, value = self._inputs(batch_idx), None, None
        # `training_step` may have returned None to skip the batch.
        if outputs or not pl_module.automatic_optimization:
            value = self._values(tap, inputs)
            instead = value is None and "value" in self.selector.wants
            loss = self._losses(tap, pl_module, outputs, batch, instead or "per_sample_loss" in self.selector.wants)
        capture = self.controller.capture
        features = inputs if capture is not None and not capture.done else None
        self.controller.observe(batch_idx, per_sample_loss=loss, value=value, features=features)
        if self._input_tap is not None and not self._needs_inputs:
            self._input_tap.remove()
            self._input_tap = None

    def _losses(
        self, tap: LossTap | None, pl_module: pl.LightningModule, outputs: Any, batch: Any, wanted: bool
    ) -> Tensor | None:
        if tap is not None and tap.weights is not None and len(tap.calls) != 1:
            raise RuntimeError(
                _ambiguous("apply the selection's loss weights", tap)
                + "Weight the loss yourself by `trainer.selection.weights(batch_idx)`, asked before it is computed."
            )
        if not wanted:
            return None
        if isinstance(outputs, dict) and "per_sample_loss" in outputs:
            return torch.as_tensor(outputs["per_sample_loss"])
        if self._score is not None:
            with torch.no_grad():
                return self._score(pl_module, batch)
        if tap is None or len(tap.calls) != 1:
            raise RuntimeError(
                _ambiguous("find the per-sample losses", tap)
                + "Return a dict with `per_sample_loss`, a (B,) tensor, beside `loss`, or pass "
                "`per_sample_loss=function` to DynamicSelection."
            )
        return tap.calls[0]

    def _values(self, tap: LossTap | None, inputs: Tensor | None) -> Tensor | None:
        """What the selector makes of the batch's logits; None if it needs none, or takes the loss instead."""
        if "value" not in self.selector.wants:
            return None
        calls: list[tuple[Tensor, Any]] = [] if tap is None else list(tap.classified)
        if self.selector.needs_targets:
            calls = [(logits, targets) for logits, targets in calls if targets.ndim == 1]
        else:
            if tap is not None and not tap.calls:
                calls = [(logits, None) for logits in tap.normalized]
            # Several losses of the same logits, as of mixup, are one.
            calls = list({id(logits): (logits, targets) for logits, targets in calls}.values())
        if len(calls) != 1:
            if self.selector.value_or_loss:
                return None
            raise RuntimeError(
                f"{type(self.selector).__name__} can't find the logits: `training_step` made {len(calls)} calls of "
                "F.cross_entropy or F.nll_loss with (B, C) logits and (B,) classes on this batch, 1 is needed; in a "
                "plain loop pass what `selector.measure` gives as `value` to `observe`"
            )
        logits, targets = calls[0]
        with torch.no_grad():
            return self.selector.measure(logits.float(), targets, None if inputs is None else inputs.float())

    def _inputs(self, batch_idx: int) -> Tensor | None:
        """What the tapped submodule took in."""
        tap = self._input_tap
        if tap is None or not self._needs_inputs:
            return None
        size = len(self.controller.indices(batch_idx))
        calls = [call for call in tap.calls if len(call) == size]
        if len(calls) != 1:
            raise RuntimeError(
                f"DynamicSelection can't capture features: the submodule was called {len(calls)} times with the "
                f"{size} samples of the batch, once is needed. Name another by `features='model:NAME'`, or give "
                "features as an array, a file or 'pixels'."
            )
        return calls[0]

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        return self.controller.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.controller.load_state_dict(state_dict)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        Bridge.forget_loader_state(checkpoint)


def _ambiguous(purpose: str, tap: LossTap | None) -> str:
    calls = 0 if tap is None else len(tap.calls)
    problem = (
        f"DynamicSelection can't {purpose}: `training_step` made {calls} calls of a usual loss function "
        "(torch.nn.functional or nn.*Loss) on this batch, 1 is needed. "
    )
    if tap is not None and tap.others:
        shapes = ", ".join(str(tuple(shape)) for shape in tap.others[:3])
        problem += (
            f"Calls with inputs of shape {shapes} don't count, they have no row for each of the {tap.size} samples. "
        )
    return problem
