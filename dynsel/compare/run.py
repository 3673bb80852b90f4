"""Trains one selector with one seed, for exactly so many optimiser steps."""

from __future__ import annotations

import gc
import json
import math
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import ArgumentParser

from dynsel._lib.parsers import instantiate
from dynsel._lib.provenance import commit, origin
from dynsel.callbacks.cli import SelectionCLI, as_list
from dynsel.compare.entry import Entry, parse_entry
from dynsel.compare.meter import Counted, Meter, MetricCheck, Progress, StepCounter
from dynsel.compare.named_files import named_files
from dynsel.compare.options import SILENT, UNWANTED, check_trainer, left_out, named_devices, refuse_callbacks
from dynsel.compare.record import RunRecord
from dynsel.features import load_features
from dynsel.samplers.controller import SelectionController
from dynsel.selectors import Full, Selector
from dynsel.selectors.spec import find_selector, selector_config

__all__ = ["Comparison"]

EVALUATIONS = 12


class Comparison(SelectionCLI):
    """The configuration of a comparison, from which fresh runs are made.

    Args:
        args: Command line of LightningCLI without a subcommand: `--config FILE` and overrides.
        metric: Name of the logged validation metric to compare.
        evaluations: Number of validations in the course of a run, 1 or more, the last after the last step.
        energy: Whether to measure the energy of training and selection.
        command: Command line that the runs are a part of, for their origin.
    """

    def __init__(
        self,
        args: list[str],
        metric: str,
        *,
        evaluations: int = EVALUATIONS,
        energy: bool = False,
        command: str = "",
    ) -> None:
        self.metric, self.evaluations, self.energy, self.command = metric, evaluations, energy, command
        commit()  # remembered: the checkout may go on while a long comparison trains with what it loaded
        super().__init__(args, run=False, save_config_callback=None)
        selection = self.config.selection
        if selection.budget is None:
            selection.budget = 1.0  # every selector takes as many steps as full data
        self.own, self.budget, self.keep_ratio = selection.selector, selection.budget, selection.keep_ratio
        self._made_by: dict[str, dict[str, Any]] = {}

    def instantiate_classes(self) -> None:
        """Each run instantiates by itself, from its own seed."""

    @property
    def first_seed(self) -> int:
        """The configuration's `seed_everything`."""
        seed = self.config.seed_everything
        return 0 if isinstance(seed, bool) else int(seed)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the outcome of a run besides selector and seed, as plain JSON values."""
        config = self.config.clone()
        for key in ("config", "seed_everything"):
            config.pop(key, None)
        for key in (*SILENT, "default_root_dir"):
            config.trainer.pop(key, None)
        dumped = json.loads(self.parser.dump(config, format="json", skip_validation=True))
        found = {"metric": self.metric, "evaluations": self.evaluations, **dumped}
        files = named_files([dumped.get("selection"), dumped.get("exclude")])
        return found | {"files": files} if files else found

    def made_by(self, name: str) -> dict[str, Any]:
        """What of a selector an upgrade or another file may change while its name and the settings stay.

        Args:
            name: Selector with its arguments, as `parse_entry` reads it.

        Returns:
            Its arguments by name, defaults included, in what JSON knows; of each file that they name a checksum.
        """
        if name not in self._made_by:
            given = self._selector(parse_entry(name)).as_dict()
            parser = ArgumentParser(exit_on_error=False)
            parser.add_subclass_arguments(Selector, "selector")
            selector = instantiate(parser, parser.parse_object({"selector": given})).selector
            self._made_by[name] = selector._arguments | named_files(given)
        return self._made_by[name]

    # ---------------------------------------------------------------- making a run
    def make(self, name: str, seed: int, callbacks: list[pl.Callback], **options: Any) -> None:
        """Set `model`, `datamodule` and `trainer` anew; the seed decides the initial weights.

        Args:
            name: Selector with its arguments, as `parse_entry` reads it. The arguments of the configuration apply
                where its selector is of the same class.
            seed: Seed for weights, order and selection.
            callbacks: Callbacks that the Trainer gets besides those of the configuration.
            **options: Arguments of the Trainer, which go before those of the configuration.
        """
        self._forget()
        pl.seed_everything(seed, workers=True, verbose=False)
        entry, selection = parse_entry(name), self.config.selection
        selection.selector = self._selector(entry)
        selection.budget = self._budget(entry)
        selection.keep_ratio = self.keep_ratio if entry.keep_ratio is None else entry.keep_ratio
        self._options, self._callbacks = options, callbacks
        super().instantiate_classes()

    def _forget(self) -> None:
        # Trainer, network and data set hold one another; Python's own collection, which counts objects and not
        # bytes, would let the data sets of dozens of runs pile up.
        for name in ("trainer", "model", "datamodule", "config_init", "_callbacks"):
            vars(self).pop(name, None)
        _collect()

    def _selector(self, entry: Entry) -> Any:
        if self.own is not None and find_selector(self.own.class_path) is entry.selector:
            own = self.own.clone()
            for key, value in entry.arguments.items():
                own.init_args[key] = value
            return own
        return selector_config(entry.selector, entry.arguments)

    def _budget(self, entry: Entry) -> float:
        if entry.budget is not None:
            return entry.budget
        # Full data are what the others are measured by.
        return 1.0 if entry.selector is Full else float(self.budget)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """A quiet Trainer with this run's callbacks beside the configuration's, without checkpoints and progress bars.

        Args:
            **kwargs: As of `LightningCLI.instantiate_trainer`; they come last.

        Raises:
            ValueError: If Lightning refuses an option, or no result with one of the callbacks would be what it says.
        """
        given = as_list(self.config_init.trainer.callbacks)
        refuse_callbacks(given, "`trainer.callbacks`")
        callbacks = [*(c for c in given if not isinstance(c, UNWANTED)), *self._callbacks]
        return super().instantiate_trainer(
            **{**SILENT, "num_nodes": 1, **self._one_device(), **self._options, "callbacks": callbacks, **kwargs}
        )

    def check_options(self) -> list[str]:
        """Refuse options with which nothing is compared.

        Returns:
            What of the configuration would change results and isn't followed by a comparison, each in a sentence.

        Raises:
            FileNotFoundError: If the file of features isn't there.
            ValueError: If there are such options or callbacks, or features can't be read; or if a class can't be made,
                for they are all made here.
        """
        check_trainer(self.config.trainer)
        self.make("full", self.first_seed, [])
        # Not every selector looks for it, and those that do may come last.
        features = self.config.selection.features
        if isinstance(features, str) and features.split(":")[0] not in ("model", "pixels"):
            load_features(features)
        return left_out(self.config_init.trainer)

    def _one_device(self) -> dict[str, Any]:
        """The option that names a single GPU, if the configuration does and there is one."""
        devices, on_cpu = named_devices(self.config.trainer.devices), self.config.trainer.accelerator == "cpu"
        return {"devices": devices} if len(devices) == 1 and torch.cuda.is_available() and not on_cpu else {}

    # ---------------------------------------------------------------- running
    def count_steps(self, name: str = "full") -> int:
        """Number of optimiser steps that a selector takes in the configured training, with its budget.

        Args:
            name: Selector with its arguments, as `parse_entry` reads it.

        Raises:
            ValueError: If the configured training has no end.
        """
        trainer = self.config.trainer
        if trainer.max_epochs in (None, -1) and trainer.max_steps == -1:
            raise ValueError("`trainer.max_epochs` or `trainer.max_steps` must be set: they say how long to train")
        counter = StepCounter()
        self.make(name, self.first_seed, [counter])
        with suppress(Counted):
            self.trainer.fit(self.model, datamodule=self.datamodule)
        # Lightning says -1 where a loader is endless.
        if not (math.isfinite(counter.steps) and counter.steps > 0):
            raise ValueError("`trainer.max_steps` must be set where the length of an epoch is unknown")
        return int(counter.steps)

    def budget_steps(self, names: Sequence[str], steps: int) -> dict[str, int]:
        """Number of optimiser steps of each selector whose budget is below 1.

        Args:
            names: Selectors with their arguments, as `parse_entry` reads them.
            steps: Number of optimiser steps of the configured training with full data.
        """
        budgets = {name: self._budget(parse_entry(name)) for name in names}
        counted: dict[float, int] = {1.0: steps}
        # Epochs have whole batches. `max_steps` would end some budgets' trainings and not others.
        whole = self.config.trainer.max_steps == -1
        for budget in budgets.values():
            if budget not in counted:
                counted[budget] = self.count_steps(f"full:budget={budget}") if whole else max(1, round(budget * steps))
        return {name: counted[budget] for name, budget in budgets.items() if budget < 1}

    def check_metric(self, steps: int) -> None:
        """Train a few batches of the whole data set and validate on two, to see whether the metric is logged.

        Args:
            steps: Number of optimiser steps of a run, which schedules of the learning rate ask for.

        Raises:
            ValueError: If it isn't, with the names of those that are, or if nothing is validated.
        """
        # Two epochs of two batches each: what is logged at the end of an epoch is there as well.
        options = {"limit_train_batches": 2, "limit_val_batches": 2, "val_check_interval": 4}
        self.make("full", self.first_seed, [MetricCheck(self.metric)], **_length(steps), **options)
        with suppress(Counted):
            self.trainer.fit(self.model, datamodule=self.datamodule)

    def train(self, name: str, seed: int, steps: int, progress: Progress = lambda point: None) -> RunRecord:
        """Train and evaluate one selector with one seed.

        Args:
            name: Selector with its arguments, as `parse_entry` reads it.
            seed: Seed for weights, order and selection.
            steps: Number of optimiser steps to train for.
            progress: Function that is called with each evaluation.

        Raises:
            ValueError: If something ends the run before its last step.
        """
        # Several batches may go into a step.
        every = math.ceil(steps / self.evaluations) * self.config.trainer.accumulate_grad_batches
        meter = Meter(self.metric, progress, energy=self.energy)
        self.make(name, seed, [meter], **_length(steps), val_check_interval=every)
        selection = self.config_init.selection
        selection.flops.wanted = True
        meter.controller = controller = selection.controller
        self.trainer.fit(self.model, datamodule=self.datamodule)
        if (took := self.trainer.global_step) < steps:
            raise ValueError(
                f"ended after {took:,} of {steps:,} optimiser steps; runs are compared at equal steps, so train "
                "without what ends it (a callback of the model, or `trainer.should_stop`)"
            )
        if not meter.curve or meter.curve[-1].step < self.trainer.global_step:
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        record = _record(name, seed, self.trainer, controller, meter)
        return replace(record, origin=origin(self.command), made_by=self.made_by(name))

    def device(self) -> torch.device:
        """Device that runs train on."""
        if getattr(self, "trainer", None) is None:
            self.make("full", self.first_seed, [])
        return self.trainer.strategy.root_device

    def train_dataset(self) -> Any:
        """The training set, that of the last run if there was one; None if only the model knows, or it has several."""
        if getattr(self, "trainer", None) is not None:
            # Not of the Trainer, which has let go of its train loader if it validated last.
            epochs = self.config_init.selection.controller.epochs
            if epochs.is_bound:
                return epochs.sampler.dataset
        self.make("full", self.first_seed, [])
        if self.datamodule is None:
            return None
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        return getattr(self.datamodule.train_dataloader(), "dataset", None)


def _collect() -> None:
    """Collect garbage, and only then heed an interrupt: what a `__del__` raises is lost, Ctrl-C among it."""
    if threading.current_thread() is not threading.main_thread():
        gc.collect()
        return
    interrupts: list[Any] = []
    handler = signal.signal(signal.SIGINT, lambda *given: interrupts.append(given))
    try:
        gc.collect()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
    if interrupts and callable(handler):
        handler(*interrupts[0])


def _length(steps: int) -> dict[str, Any]:
    """Arguments of a Trainer that stops after so many optimiser steps, however many epochs these are."""
    unlimited = {"max_epochs": -1, "min_epochs": None, "max_time": None, "check_val_every_n_epoch": None}
    return {"max_steps": steps, **unlimited}


def _record(name: str, seed: int, trainer: pl.Trainer, controller: SelectionController, meter: Meter) -> RunRecord:
    loss = trainer.callback_metrics.get("val_loss")
    balance = [record.class_balance for record in controller.history]
    flops, selection_flops = (None if math.isnan(count) else count for count in controller.books.flops())
    return RunRecord(
        selector=name,
        seed=seed,
        value=meter.curve[-1].value,
        loss=None if loss is None else float(loss),
        samples=controller.books.samples_trained,
        steps=trainer.global_step,
        seconds=meter.seconds,
        selection_seconds=sum(record.selection_seconds for record in controller.history),
        fit_seconds=sum(record.fit_seconds for record in controller.history),
        data_seconds=sum(record.data_seconds for record in controller.history),
        evaluation_seconds=meter.evaluation_seconds,
        gpu_joules=None if meter.energy is None else meter.energy.gpu,
        cpu_joules=None if meter.energy is None else meter.energy.cpu,
        curve=meter.curve,
        class_balance=[] if any(map(math.isnan, balance)) else balance,
        usage=controller.selector.usage.tolist(),
        wrong_share=_wrong_share(controller),
        samples_scored=controller.books.samples_scored,
        flops=flops,
        selection_flops=selection_flops,
        logged={key: float(found) for key, found in trainer.callback_metrics.items() if key.startswith("val")},
    )


def _wrong_share(controller: SelectionController) -> float | None:
    """Of the samples trained on, with repetition, those that the data set knows to be labelled wrongly."""
    # Not of the Trainer, which has let go of its train loader if it validated last.
    wrong = getattr(controller.sampler.dataset, "wrong", None)
    usage, pool = controller.selector.usage, controller.sampler.whole.pool
    if isinstance(wrong, torch.Tensor) and pool is not None:
        wrong = wrong.cpu()[pool]
    if not isinstance(wrong, torch.Tensor) or wrong.shape != usage.shape or not bool(usage.any()):
        return None
    return float((usage * wrong.cpu()).sum() / usage.sum())
