"""The Lightning callback: dynamic data selection for any LightningModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from dynsel._lib.checks import check_flag, check_integer
from dynsel.callbacks.arrived import part_to_train_on
from dynsel.callbacks.batch_loss import loss_if_asked
from dynsel.callbacks.checkpoints import forget_loader_state, warn_of_gradients
from dynsel.callbacks.choice_of_loader import ChosenLoader
from dynsel.callbacks.flops import FlopCounter
from dynsel.callbacks.lightning_driver import LightningDriver
from dynsel.callbacks.lightning_names import Callback
from dynsel.callbacks.listening import Heard, Listener
from dynsel.callbacks.shard_checkpoints import folder_of, keep_beside_checkpoints
from dynsel.callbacks.showing import (
    is_monitored,
    log_epoch,
    say_if_features_lack,
    say_if_labels_lack,
    say_what_labels_look_like,
    show_metrics,
)
from dynsel.callbacks.steps import say_what_becomes_of_steps
from dynsel.callbacks.train_batches import change_train_batches, moves_batches
from dynsel.samplers.controller import SelectionController
from dynsel.samplers.view import SelectionView
from dynsel.schedules import Schedule
from dynsel.selectors import BatchSelector, CandidateSelector, Proxy, Selector

__all__ = ["DynamicSelection"]

ScoreFunction = Callable[[pl.LightningModule, Any], Tensor]


class DynamicSelection(SelectionView, Callback):
    """Trains on selections of the training set, each chosen from what training told before it.

    Add it to the Trainer's callbacks; the LightningModule, the DataModule and the loaders stay as they are. The
    train loader's samples must be selectable by index (a map-style data set); its sampler's order is kept.

    Logged at the end of each epoch, under `selection/`: keep_ratio, rounds (selections of the epoch), coverage (share
    of samples used so far), usage_gini, class_balance, selection_seconds with its part fit_seconds, data_seconds
    (waiting for batches), samples_trained and samples_scored (all epochs together), with `count_flops` also flops and
    selection_flops; see `dynsel.samplers.EpochRecord`. keep_ratio, coverage, usage_gini and samples_trained can be
    monitored, with or without a logger: `EarlyStopping(monitor="selection/coverage", mode="max")`.

    Args:
        selector: What decides; a `Selector` or a short name ("random", "rrd", ...). Default: `Hybrid`.
        keep_ratio: Share of the training set that a selection holds, in (0, 1]; a number or a
            `dynsel.schedules.Schedule` over the progress of training. Given without `budget`, an epoch is one selection
            and as much shorter. Default: 0.5, or the budget if that is smaller.
        budget: Share of the full training's batches to spend, in (0, 1]. An epoch has `budget` times its own number of
            batches and consists of rounds, each a fresh selection of `keep_ratio` of the data. Default: 1, the very
            steps of the training without this callback, unless `keep_ratio` is given.
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
        indices: Where a batch holds the data set indices of its samples: a key, attribute or position of it, or a
            function of it that returns (B,) whole numbers. Needed where a collate function changes the samples' order
            or leaves some out.
        prog_bar: Show keep ratio and coverage in the progress bar, as "keep" and "seen".
        log_images_every: Epochs after which TensorBoard and Weights & Biases get the images used most and least, and a
            histogram of uses; 0 = never.
        findings: Whether to take down what the logits say of the labels, 36 bytes per sample, for `findings()`;
            default: if the selector goes by logits anyway, as the default one does.
        exclude: Samples to leave out of training: data set indices, or a file that names them, as the `suspects.csv`
            of `dynsel findings`.
        sharded: Let each rank know its own samples only, for data sets of a hundred million samples and more: see
            docs/scale.md. A number is that of the shards, which the number of ranks must always divide; default: the
            least multiple of it that is at least 64.

    Raises:
        ValueError: If `keep_ratio` or `budget` leaves (0, 1], `seed` is below 0, or `features` is a text but no name or
            path.
        TypeError: If `selector` is no selector, or another argument is of another type.

    Example:
        >>> from dynsel.callbacks import DynamicSelection
        >>> callback = DynamicSelection("random", keep_ratio=0.3)
        >>> # Trainer(callbacks=[callback]).fit(your_module, your_datamodule)
    """

    def __init__(
        self,
        selector: Selector | str | None = None,
        keep_ratio: float | Schedule | None = None,
        *,
        budget: float | None = None,
        features: Any = None,
        labels: Any = None,
        per_sample_loss: ScoreFunction | None = None,
        loader: str | int | None = None,
        seed: int | None = None,
        count_flops: bool = False,
        indices: str | int | Callable[[Any], Any] | None = None,
        prog_bar: bool = False,
        log_images_every: int = 0,
        findings: bool | None = None,
        exclude: Any = None,
        sharded: bool | int = False,
    ) -> None:
        self.controller = SelectionController(
            selector,
            keep_ratio,
            budget=budget,
            features=features,
            labels=labels,
            seed=seed,
            indices=indices,
            findings=findings,
            exclude=exclude,
            sharded=sharded,
        )
        self.flops = FlopCounter(self.controller.books, wanted=check_flag("count_flops", count_flops))
        if per_sample_loss is not None and not callable(per_sample_loss):
            raise TypeError(f"`per_sample_loss` must be a function of (module, batch), got {per_sample_loss!r}")
        if loader is not None and (isinstance(loader, bool) or not isinstance(loader, str | int)):
            raise TypeError(f"`loader` must be the key or the position of a train loader, got {loader!r}")
        self.prog_bar = check_flag("prog_bar", prog_bar)
        why = "it is a number of epochs, 0 = never"
        self.log_images_every = check_integer("log_images_every", log_images_every, at_least=0, why=why)
        if self.log_images_every and self.controller.sharding.on:
            raise ValueError("`log_images_every` shows the samples used most of all, which with `sharded` nobody knows")
        self._told_of_gradients = False
        self._score, self._loader_key = per_sample_loss, loader
        self._heard = Heard()
        self._be_idle()
        self._trainer: pl.Trainer | None = None

    def _be_idle(self) -> None:
        # What there is during a fit only.
        self._driver: LightningDriver | None = None
        self._loader: ChosenLoader | None = None
        self._listener: Listener | None = None
        self._undos: list[Callable[[], None]] = []

    def __getstate__(self) -> dict[str, Any]:
        # A copy listens to nobody and has changed no Trainer.
        absent = ("_trainer", "_driver", "_loader", "_listener")
        return {**vars(self), **dict.fromkeys(absent), "_undos": []}

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
    def listening(self) -> Heard:
        """Where the numbers of the samples come from, as of the last fit; prints as one line."""
        return self._heard if self._listener is None else self._listener.heard

    def _controller(self) -> SelectionController:
        return self.controller

    def wrap(self, loader: Any) -> Any:
        """Nothing to do under Lightning, where the callback finds the loader by itself.

        Args:
            loader: Any loader; for modules that are trained in plain loops as well.

        Returns:
            The loader as it is.
        """
        return loader

    def weights(self, batch_idx: int) -> Tensor | None:
        """Loss weights of a batch.

        The usual losses are weighted without being asked to. Whoever asks for the weights in `training_step`,
        before computing the loss, takes over: the loss is then left alone.

        Args:
            batch_idx: Number of the batch in the current epoch, from 0.

        Returns:
            (B,) float32, or None if all are 1.
        """
        if self._listener is not None:
            self._listener.leave_weights()
        return self.controller.weights(batch_idx)

    @property
    def state_key(self) -> str:
        """A key of its own for each loader that is selected from."""
        return self._generate_state_key(loader=self._loader_key)

    # ---------------------------------------------------------------- in and out
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the place of the train loader, before Lightning asks for it."""
        if stage != "fit":
            return
        if self._trainer is not trainer and self.controller.epochs.is_bound:
            self.controller.epochs.forget()
        driver = LightningDriver(trainer, self._score, count_flops=self.flops.wanted)
        self._trainer, self._driver = trainer, driver
        self._loader = ChosenLoader(self.controller, driver, self._loader_key)
        self.controller.attach(driver)
        self._undos.append(driver.uninstall)
        driver.install(self._loader.select_from, self._loader.plan)
        vars(trainer)["selection"] = self
        if self.controller.sharding.on:
            self._undos.append(keep_beside_checkpoints(trainer, self.controller))
        if isinstance(self.selector, Proxy):
            self.selector.follow(pl_module)
        if self.controller.cuts_batches or self.controller.arrivals.where is not None:
            by = type(self.selector).__name__ if self.controller.cuts_batches else "`indices=`"
            self._undos.append(
                change_train_batches(
                    trainer, pl_module, lambda batch, i: self._arrived(trainer, pl_module, batch, i), by=by
                )
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Count what was trained on, and leave the Trainer as it was."""
        if self._driver is not None:
            # A checkpoint of the very last batch has nothing left to train: no hook ended its epoch.
            self.controller.finish_epoch()
        self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        if self._listener is not None:
            self._heard = self._listener.heard
            self._listener.close()
        self.flops.close()
        if vars(trainer).get("selection") is self:
            del vars(trainer)["selection"]
        for undo in reversed(self._undos):
            undo()
        self._be_idle()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the Trainer as it was: Lightning does not call `teardown` after an exception."""
        self._leave(trainer)

    # ---------------------------------------------------------------- epochs
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to decide epochs and to listen, and say what becomes of the steps."""
        if self._driver is None or self._loader is None or self._driver.overfits:
            return
        self.controller.epochs.begin_training()
        say_if_labels_lack(self.controller)
        self._listener = Listener(
            self.selector,
            pl_module,
            per_sample_loss=self._score,
            automatic=pl_module.automatic_optimization,
            scale=self._driver.loss_scale,
            epochs=self._driver.max_epochs,
            capture=self.controller.sources.capture,
            axis_of=None if moves_batches(trainer, pl_module) else self.controller.arrivals.axis_of,
            judges=self.controller.epochs.evidence is not None,
        )
        # With several loaders another one may decide how long an epoch is.
        if self._loader.is_only and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            say_what_becomes_of_steps(self.controller, self._driver)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the samples of the epoch, if that isn't done."""
        if self._listener is not None:
            self.controller.ensure_epoch(trainer.current_epoch)
            self._show(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the metrics ready that others monitor."""
        # Monitors go by what is known after validation, which comes before the epoch's end.
        if self._listener is not None and not trainer.sanity_checking and is_monitored(trainer):
            self.controller.flush()
            self._show(trainer)

    def _show(self, trainer: pl.Trainer) -> None:
        if not trainer.barebones:
            show_metrics(trainer, self.controller, prog_bar=self.prog_bar)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the books of the epoch and log what it was."""
        self.flops.close()
        if self._listener is None:
            return
        self._listener.skip_batch()
        record = self.controller.finish_epoch()
        if record is not None and not trainer.barebones:
            log_epoch(trainer, self.controller, record, images_every=self.log_images_every)
            self._show(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count what was trained on, and say if features never became complete."""
        self.controller.epochs.end_training()
        say_what_labels_look_like(trainer, self.controller)
        say_if_features_lack(trainer, self.controller)

    # ---------------------------------------------------------------- a batch
    def _arrived(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> Any:
        if self._listener is None:
            return batch
        return part_to_train_on(self.controller, self.flops, trainer, pl_module, batch, batch_idx)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to listen to a batch."""
        if self._listener is None or self._loader is None:
            return
        if self.controller.arrivals.where is None and self._loader.is_only:
            self.controller.look_at(batch_idx, batch)
        self.flops.begin_batch(pl_module)
        size = len(self.controller.feedback.positions(batch_idx))
        self._listener.begin_batch(batch_idx, size, self.controller.weights(batch_idx), batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Listen to what is about to be differentiated, the scalar loss."""
        if self._listener is not None:
            self._listener.before_backward(loss)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass on what the batch told."""
        if self._listener is None:
            return
        told = self._listener.end_batch(outputs, batch)
        self.flops.end_batch(len(self.controller.feedback.positions(batch_idx)))
        # Of a step that was skipped Lightning passes on an empty dict.
        returned = outputs if outputs or not pl_module.automatic_optimization else None
        loss = loss_if_asked(self.selector, told, returned, trainer.accumulate_grad_batches)
        self.controller.observe(batch_idx, **told._asdict(), batch_loss=loss)

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; loads with `weights_only=True`."""
        return self.controller.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue once there is a train loader.

        Args:
            state_dict: What `state_dict` gave, as Lightning found it in the checkpoint.

        Raises:
            ValueError: If it is of another selector or another version, where a loader is there already.
        """
        path = None if self._trainer is None else self._trainer.ckpt_path
        shards = folder_of(path) if path and self.controller.sharding.on else None
        self.controller.load_state_dict(state_dict, shards)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take out what isn't needed, and say once what Lightning leaves out."""
        forget_loader_state(checkpoint)
        if self._driver is not None and self._driver.holds_gradients and not self._told_of_gradients:
            self._told_of_gradients = True
            warn_of_gradients(self._driver.accumulate)
